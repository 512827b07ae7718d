import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import type { Config } from '../../src/config'
import type { WindowWorkflow } from '../../src/contract/workflows'
import { totalsOf } from '../../src/core/window/ledger'
import { PipelineClient } from '../../src/pipeline/pipeline-client'
import type { Db } from '../../src/postgres/database'
import { storedTotals, type StoredTotals } from '../../src/postgres/totals'
import { compare } from '../oracle/compare'
import { totalOf, type LogCounter } from '../oracle/reference'

/** Milliseconds after the last record within which every record must be accounted for and every window closed. */
const SETTLED_WITHIN = 120_000

export interface Verdict extends StoredTotals {
  /** One line each; empty if everything is right. */
  problems: string[]
  /** The late events with `cause = 'closed'`. */
  closed: number
  /** Repeated deltas that windows dropped. Without that, the faults would have counted them twice. */
  repeats: number
}

export interface Evidence {
  client: Client
  config: Config
  db: Db
  /** An independent count of the topic. */
  log: LogCounter
  /** Whether Kafka was struck, which makes partitions silent. */
  kafkaStruck: boolean
}

/** Waits until every record is accounted for and every window has closed, then compares with the independent count. */
export async function judge(evidence: Evidence): Promise<Verdict> {
  const { db, log, config, client, kafkaStruck } = evidence
  const { group, idleTimeout } = config.settings
  const unsettled = await settle(evidence)
  const mayCloseEarly = kafkaStruck || log.longestSilence >= idleTimeout
  const problems = [
    ...unsettled,
    ...(await compare(db, log.counted, { mayCloseEarly })),
    ...(await compareLedger(evidence)),
    ...(await unexpectedWorkflows(client, group)),
  ]
  const closed = await db
    .selectFrom('late_web_traffic')
    .select(({ fn }) => fn.sum<number | null>('num_hits').as('hits'))
    .where('cause', '=', 'closed')
    .executeTakeFirstOrThrow()
  return {
    problems,
    ...(await storedTotals(db)),
    records: log.records,
    closed: Number(closed.hits),
    repeats: await repeatsDropped(client, group),
  }
}

async function settle({ db, client, config, log: { records } }: Evidence): Promise<string[]> {
  const deadline = Date.now() + SETTLED_WITHIN
  for (;;) {
    const { records: accounted } = await storedTotals(db)
    const open = await openWorkflows(client, config.settings.group)
    if (accounted === records && open === 0) return []
    if (accounted > records) return [`${accounted} records are in Postgres, but the topic has ${records}`]
    if (Date.now() > deadline)
      return [
        `after ${SETTLED_WITHIN / 1_000} s ${accounted} of ${records} records are in Postgres, ` +
          `and ${open} workflows of windows, pieces and exceptions are open`,
      ]
    await sleep(500)
  }
}

/** How many workflows still have counts to write to Postgres. */
export async function openWorkflows(client: Client, group: string): Promise<number> {
  const query = `WorkflowId starts_with '${group}/' and ExecutionStatus = 'Running' and WorkflowType in ('window', 'piece', 'exceptions')`
  return (await client.workflow.count(query)).count
}

async function compareLedger({ client, config, log: { counted } }: Evidence): Promise<string[]> {
  const status = await new PipelineClient(client, config).status()
  const found = totalsOf(status?.ledger ?? { partitions: {} })
  const right = { hits: totalOf(counted.hits), late: totalOf(counted.late), rejected: counted.rejected }
  return (['hits', 'late', 'rejected'] as const)
    .filter(key => found[key] !== right[key])
    .map(key => `${key}: ${found[key]} in the ledger instead of ${right[key]}`)
}

/** Repeated deltas that the windows of a pipeline dropped. */
export async function repeatsDropped(client: Client, group: string): Promise<number> {
  const query = `WorkflowId starts_with '${group}/' and WorkflowType = 'window' and ExecutionStatus = 'Completed'`
  let repeats = 0
  for await (const { workflowId, runId } of client.workflow.list({ query }))
    repeats += (await client.workflow.getHandle<WindowWorkflow>(workflowId, runId).result()).repeats
  return repeats
}

/** Workflows of the pipeline that failed or were terminated, timed out or cancelled. */
async function unexpectedWorkflows(client: Client, group: string): Promise<string[]> {
  const query = `WorkflowId starts_with '${group}/' and ExecutionStatus not in ('Running', 'Completed', 'ContinuedAsNew')`
  const problems: string[] = []
  for await (const { workflowId, status } of client.workflow.list({ query }))
    problems.push(`${workflowId}: ${status.name}`)
  return problems
}
