import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import type { KafkaMessage } from 'kafkajs'
import { PipelineClient } from '../../src/pipeline/pipeline-client'
import type { Config } from '../../src/config'
import { totalsOf } from '../../src/core/window/ledger'
import { openCountryDatabase } from '../../src/geo/country'
import type { Db } from '../../src/postgres/database'
import { storedTotals } from '../../src/postgres/totals'
import { countLog, differences, fold, totalOf } from '../oracle/reference'
import { readResults, type Results } from '../oracle/results'
import { longestSilence } from '../oracle/silence'
import type { WindowWorkflow } from '../../src/contract/workflows'

/** Milliseconds after the last record within which everything must be accounted for and closed. */
const SETTLED_WITHIN = 120_000

export interface Verdict {
  /** What is wrong, a line each; none where everything is right. */
  problems: string[]
  records: number
  hits: number
  late: number
  /** Of the late ones, those with `cause = 'closed'`. */
  closed: number
  rejected: number
  windows: number
  /** Deltas that reached a window twice and were dropped: what the faults would have counted twice. */
  repeats: number
}

export interface Evidence {
  client: Client
  config: Config
  db: Db
  /** The topic as read by kafkajs alone. */
  log: KafkaMessage[][]
  /** Whether Kafka was struck, which silences the producer as well. */
  kafkaStruck: boolean
}

/** Waits until all of the log is accounted for and every window has closed, and holds it against an independent count. */
export async function judge(evidence: Evidence): Promise<Verdict> {
  const { db, log, config, client } = evidence
  const records = log.reduce((sum, messages) => sum + messages.length, 0)
  const unsettled = await settle(evidence, records)
  const found = await readResults(db)
  const wrong = await compare(evidence, found)
  const workflows = await unexpectedWorkflows(client, config.settings.group)
  return {
    problems: [...unsettled, ...wrong, ...workflows],
    records,
    hits: totalOf(found.hits),
    late: totalOf(found.late),
    closed: found.closed,
    rejected: found.rejected,
    windows: found.windowHits.size,
    repeats: await repeatsDropped(client, config.settings.group),
  }
}

async function settle({ db, client, config }: Evidence, records: number): Promise<string[]> {
  const deadline = Date.now() + SETTLED_WITHIN
  for (;;) {
    const { records: accounted } = await storedTotals(db)
    const open = await openWorkflows(client, config.settings.group)
    if (accounted === records && open === 0) return []
    if (accounted > records) return [`${accounted} records are in Postgres, but the topic has ${records}`]
    if (Date.now() > deadline)
      return [
        `after ${SETTLED_WITHIN / 1_000} s ${accounted} of ${records} records are in Postgres, ${open} workflows of windows, pieces and exceptions are open`,
      ]
    await sleep(500)
  }
}

/** How many workflows still carry counts to Postgres. */
export async function openWorkflows(client: Client, group: string): Promise<number> {
  const query = `WorkflowId starts_with '${group}/' and ExecutionStatus = 'Running' and WorkflowType in ('window', 'piece', 'exceptions')`
  return (await client.workflow.count(query)).count
}

async function compare({ client, config, log, kafkaStruck }: Evidence, found: Results): Promise<string[]> {
  const { windowSize, watermarkDelay, idleTimeout } = config.settings
  const expected = countLog(log, await openCountryDatabase(config.geoDatabase), windowSize, watermarkDelay)
  const problems: string[] = []
  const check = (what: string, actual: Map<string, number>, right: Map<string, number>) =>
    problems.push(...differences(actual, right).map(difference => `${what}: ${difference}`))
  if (found.closed === 0) {
    check('hits', found.hits, expected.hits)
    check('late', found.late, expected.late)
  } else {
    // What came after a window had closed is late in place of a hit: the two together are what the rule says.
    check('hits and late', fold([found.hits, found.late]), fold([expected.hits, expected.late]))
    if (!kafkaStruck && longestSilence(log) < idleTimeout)
      problems.push(`${found.closed} hits came after their window had closed, and no partition was silent`)
  }
  check('hits by host and referrer', found.hitsAnyCountry, fold([found.hits], 3))
  check('hits of a window', found.windowHits, fold([found.hits], 1))
  const status = await new PipelineClient(client, config).status()
  const inLedger = totalsOf(status?.ledger ?? { partitions: {} })
  const sums = { hits: totalOf(expected.hits), late: totalOf(expected.late), rejected: expected.rejected }
  for (const key of ['hits', 'late', 'rejected'] as const)
    if (inLedger[key] !== sums[key])
      problems.push(`${key}: ${inLedger[key]} in the ledger instead of ${sums[key]}`)
  if (found.rejected !== sums.rejected)
    problems.push(`rejected: ${found.rejected} instead of ${sums.rejected}`)
  return problems
}

/** Deltas that reached a window twice and were dropped. */
export async function repeatsDropped(client: Client, group: string): Promise<number> {
  const query = `WorkflowId starts_with '${group}/' and WorkflowType = 'window' and ExecutionStatus = 'Completed'`
  let repeats = 0
  for await (const { workflowId, runId } of client.workflow.list({ query }))
    repeats += (await client.workflow.getHandle<WindowWorkflow>(workflowId, runId).result()).repeats
  return repeats
}

/** Workflows of the pipeline that ended otherwise than they should, by how they ended. */
async function unexpectedWorkflows(client: Client, group: string): Promise<string[]> {
  const query = `WorkflowId starts_with '${group}/' and ExecutionStatus not in ('Running', 'Completed', 'ContinuedAsNew')`
  const problems: string[] = []
  for await (const { workflowId, status } of client.workflow.list({ query }))
    problems.push(`${workflowId}: ${status.name}`)
  return problems
}
