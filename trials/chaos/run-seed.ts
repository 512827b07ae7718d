import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { loadConfig } from '../../src/config'
import { ingestId } from '../../src/contract/ids'
import { scale } from '../../src/contract/messages'
import { kafkaClient } from '../../src/kafka/client'
import { startPipeline } from '../../src/pipeline/start'
import { openDatabase } from '../../src/postgres/database'
import { migrate } from '../../src/postgres/migrate'
import { ensureTopic } from '../../src/sources/topic'
import { withTemporal } from '../../src/temporal/connection'
import { updateUntilAnswered } from '../../src/temporal/retry'
import { countTopic } from '../oracle/read-log'
import { strike, type Target } from './attack'
import { describeFault, KINDS, schedule, seconds, type Fault, type FaultKind } from './faults'
import { RecoveryWatch } from './recovery-watch'
import { Relays } from './relays'
import { Servers } from './servers'
import { Traffic } from './traffic'
import { judge, type Verdict } from './verdict'
import { Workers } from './workers'

const PARTITIONS = 4
const WORKERS = 3
const PIPELINE = {
  KAFKA_GROUP: 'chaos',
  KAFKA_TOPIC: 'chaos',
  POSTGRES_DB: 'web_traffic',
  WINDOW_SIZE: '10s',
  WATERMARK_DELAY: '2s',
  IDLE_TIMEOUT: '4s',
  FLUSH_INTERVAL: '500ms',
  POLLERS: String(WORKERS),
  LOG_LEVEL: 'info',
}

/** A fault that struck. Times in milliseconds. */
export interface Struck {
  kind: FaultKind
  description: string
  /** Since the traffic began. */
  at: number
  /** Another fault struck before the pipeline had recovered. */
  overtaken: boolean
  /** From the strike until every partition had counted an event that is newer; null if that was not seen. */
  recoveredAfter: number | null
  /** The same from the end of the fault, when its target runs again. */
  recoveredAfterEnd: number | null
}

export interface SeedResult extends Verdict {
  seed: number
  faults: Struck[]
  /** The folder of the logs if anything was wrong. */
  logs: string | null
}

export interface RunOptions {
  seed: number
  short: boolean
  report: (line: string) => void
  signal: AbortSignal
}

/** Runs one seed on its own servers, which it stops again. */
export async function runSeed(options: RunOptions): Promise<SeedResult> {
  const folder = mkdtempSync(join(tmpdir(), `web-traffic-chaos-${options.seed}-`))
  const logs = join(folder, 'logs')
  const servers = new Servers(join(folder, 'cluster'))
  let workers: Workers | undefined
  let relays: Relays | undefined
  let right = false
  try {
    await servers.start(options.signal)
    options.signal.throwIfAborted()
    Object.assign(process.env, servers.environment, PIPELINE)
    relays = await Relays.open(servers.environment)
    workers = new Workers(logs, { ...process.env }, relays.environment)
    const parts = { servers, relays, workers }
    const result = await withTemporal(client => attack(options, client, parts))
    right = result.problems.length === 0
    return { ...result, seed: options.seed, logs: right ? null : logs }
  } finally {
    await workers?.killAll()
    await relays?.close()
    const serverLogs = join(servers.dir, 'logs')
    if (!right && existsSync(serverLogs)) cpSync(serverLogs, logs, { recursive: true })
    await servers.end()
    if (right || options.signal.aborted) rmSync(folder, { recursive: true, force: true })
    else options.report(`logs: ${logs}`)
  }
}

async function attack(
  { seed, short, report, signal }: RunOptions,
  client: Client,
  parts: Pick<Target, 'servers' | 'relays' | 'workers'>,
): Promise<Verdict & { faults: Struck[] }> {
  const config = loadConfig()
  const { group, topic } = config.settings
  const { workers } = parts
  const db = openDatabase(config.postgres, 2)
  const kafka = kafkaClient(config.kafka, 'web-traffic-chaos')
  try {
    await migrate(db)
    await ensureTopic(kafka, topic, PARTITIONS)
    await startPipeline(config, WORKERS, 'earliest')
    for (let n = 0; n < WORKERS; n++) workers.start()
    const traffic = new Traffic(config.kafka, topic, seed)
    const faults = schedule(seed, short)
    const ledger = client.workflow.getHandle(ingestId(group))
    const target: Target = {
      ...parts,
      config,
      scale: pollers => updateUntilAnswered(ledger, scale, pollers, signal),
      signal,
    }
    const watch = new RecoveryWatch(client, group, PARTITIONS, signal)
    const struck = await strikeAll(faults, target, watch, report).finally(() => traffic.end())
    const log = await countTopic(kafka, topic, config.settings, config.geoDatabase)
    const kafkaStruck = faults.some(({ kind }) => KINDS[kind].strikes === 'kafka')
    const verdict = await judge({ client, config, db, log, kafkaStruck })
    const notRecovered = struck
      .filter(({ overtaken, recoveredAfterEnd }) => !overtaken && recoveredAfterEnd === null)
      .map(({ description }) => `not every partition was counted again after: ${description}`)
    return {
      ...verdict,
      problems: [...notRecovered, ...workers.diedUnexpectedly, ...verdict.problems],
      faults: struck,
    }
  } finally {
    await db.destroy()
  }
}

/** Carries out the faults in order. Each waits until the pipeline has recovered from the last one, unless it overtakes it. */
async function strikeAll(
  faults: Fault[],
  target: Target,
  watch: RecoveryWatch,
  report: (line: string) => void,
): Promise<Struck[]> {
  const began = Date.now()
  await watch.recoveredAfter(began)
  const struck: Struck[] = []
  for (const [index, fault] of faults.entries()) {
    await sleep(fault.pause, undefined, { signal: target.signal })
    const now = Date.now()
    const overtaken = faults[index + 1]?.overtakes ?? false
    const ended = strike(target, fault).then(() => Date.now())
    const [recoveredAfter, recoveredAfterEnd] = await Promise.all([
      overtaken ? null : watch.recoveredAfter(now),
      ended.then(end => (overtaken ? null : watch.recoveredAfter(end))),
    ])
    const { kind } = fault
    const description = describeFault(fault)
    struck.push({ kind, description, at: now - began, overtaken, recoveredAfter, recoveredAfterEnd })
    report(describeStruck(struck.at(-1)!))
  }
  return struck
}

/** `+  12.3 s  SIGKILL of all workers … recovered after 4.1 s, 4.0 s after the fault ended`. */
function describeStruck({ description, at, overtaken, recoveredAfter, recoveredAfterEnd }: Struck): string {
  const outcome = overtaken
    ? 'overtaken by the next'
    : recoveredAfter === null || recoveredAfterEnd === null
      ? 'not recovered'
      : `recovered after ${seconds(recoveredAfter)}, ${seconds(recoveredAfterEnd)} after the fault ended`
  return `+${seconds(at).padStart(7)}  ${description} … ${outcome}`
}
