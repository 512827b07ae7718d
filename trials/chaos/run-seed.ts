import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { updateUntilAnswered } from '../../src/temporal/retry'
import { loadConfig } from '../../src/config'
import { ingestId } from '../../src/contract/ids'
import { kafkaClient } from '../../src/kafka/client'
import { openDatabase } from '../../src/postgres/database'
import { migrate } from '../../src/postgres/migrate'
import { withTemporal } from '../../src/temporal/connection'
import { ensureTopic } from '../../src/sources/topic'
import { scale } from '../../src/contract/messages'
import { strike, type Target } from './attack'
import { CountedWatch } from './counted'
import { describeFault, KINDS, schedule, seconds, type Fault, type FaultKind } from './faults'
import { readLog } from '../oracle/read-log'
import { Servers } from './servers'
import { Traffic } from './traffic'
import { judge, type Verdict } from './verdict'
import { Workers } from './workers'
import { startPipeline } from '../../src/pipeline/start'

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

/** A fault that took place. Times are milliseconds. */
export interface Struck {
  kind: FaultKind
  description: string
  /** Since the traffic began. */
  at: number
  /** Another fault came before the pipeline was seen to count again. */
  overtaken: boolean
  /** From the strike until an event from after it was counted in every partition; null where that was not seen. */
  counted: number | null
  /** The same from the end of the fault: the component answers again, the worker goes on. */
  countedSinceEnd: number | null
}

export interface SeedResult extends Verdict {
  seed: number
  faults: Struck[]
  /** Where the logs are, if anything was wrong. */
  logs: string | null
}

export interface RunOptions {
  seed: number
  short: boolean
  report: (line: string) => void
  signal: AbortSignal
}

/** Runs one seed on servers of its own, and takes everything down again. */
export async function runSeed(options: RunOptions): Promise<SeedResult> {
  const folder = mkdtempSync(join(tmpdir(), `web-traffic-chaos-${options.seed}-`))
  const logs = join(folder, 'logs')
  const servers = new Servers(join(folder, 'cluster'))
  let workers: Workers | undefined
  let right = false
  try {
    await servers.start(options.signal)
    options.signal.throwIfAborted()
    Object.assign(process.env, servers.environment, PIPELINE)
    workers = new Workers(logs, { ...process.env })
    const result = await withTemporal(client => attack(options, client, servers, workers!))
    right = result.problems.length === 0
    return { ...result, seed: options.seed, logs: right ? null : logs }
  } finally {
    await workers?.killAll()
    const serverLogs = join(servers.dir, 'logs')
    if (!right && existsSync(serverLogs)) cpSync(serverLogs, logs, { recursive: true })
    await servers.end()
    if (right || options.signal.aborted) rmSync(folder, { recursive: true, force: true })
    else options.report(`the logs are in ${logs}`)
  }
}

async function attack(
  { seed, short, report, signal }: RunOptions,
  client: Client,
  servers: Servers,
  workers: Workers,
): Promise<Verdict & { faults: Struck[] }> {
  const config = loadConfig()
  const { group, topic } = config.settings
  const db = openDatabase(config.postgres, 2)
  const kafka = kafkaClient(config.kafka, 'web-traffic-chaos')
  try {
    await migrate(db)
    await ensureTopic(kafka, topic, PARTITIONS)
    await startPipeline(config, WORKERS, 'earliest')
    for (let n = 0; n < WORKERS; n++) workers.start()
    const traffic = new Traffic(config.kafka, topic, seed)
    const faults = schedule(seed, short)
    const target: Target = {
      servers,
      workers,
      config,
      scale: pollers =>
        updateUntilAnswered(client.workflow.getHandle(ingestId(group)), scale, pollers, signal),
      signal,
    }
    const watch = new CountedWatch(client, group, PARTITIONS, signal)
    const struck = await strikeAll(faults, target, watch, report).finally(() => traffic.end())
    const log = await readLog(kafka, topic)
    const kafkaStruck = faults.some(({ kind }) => KINDS[kind].strikes === 'kafka')
    const verdict = await judge({ client, config, db, log, kafkaStruck })
    const lasting = struck.filter(({ overtaken, countedSinceEnd }) => !overtaken && countedSinceEnd === null)
    const problems = lasting.map(
      ({ description }) => `not every partition was counted again after: ${description}`,
    )
    return {
      ...verdict,
      problems: [...problems, ...workers.endedByThemselves, ...verdict.problems],
      faults: struck,
    }
  } finally {
    await db.destroy()
  }
}

/** Carries out the faults in order; each waits until the last one is recovered from, unless it overtakes it. */
async function strikeAll(
  faults: Fault[],
  target: Target,
  watch: CountedWatch,
  report: (line: string) => void,
): Promise<Struck[]> {
  const begun = Date.now()
  await watch.since(begun)
  const struck: Struck[] = []
  for (const [index, fault] of faults.entries()) {
    await sleep(fault.pause, undefined, { signal: target.signal })
    const now = Date.now()
    const overtaken = faults[index + 1]?.overtakes ?? false
    const over = strike(target, fault).then(() => Date.now())
    const [counted, countedSinceEnd] = await Promise.all([
      overtaken ? null : watch.since(now),
      over.then(end => (overtaken ? null : watch.since(end))),
    ])
    const { kind } = fault
    const result = {
      kind,
      description: describeFault(fault),
      at: now - begun,
      overtaken,
      counted,
      countedSinceEnd,
    }
    report(describeStruck(result))
    struck.push(result)
  }
  return struck
}

/** `+12.3 s  SIGKILL of all workers … counted again after 4.1 s`. */
function describeStruck({ description, at, overtaken, counted, countedSinceEnd }: Struck): string {
  const show = (time: number | null) => (time === null ? 'not at all' : `after ${seconds(time)}`)
  const outcome = overtaken
    ? 'overtaken by the next'
    : `counted again ${show(counted)}, since its end ${show(countedSinceEnd)}`
  return `+${seconds(at).padStart(7)}  ${description} … ${outcome}`
}
