import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Client } from '@temporalio/client'
import { Pool } from 'pg'
import { openWorkflows, repeatsDropped } from '../chaos/verdict'
import { Workers, type WorkerProcess } from '../chaos/workers'
import { findProblems } from '../../src/pipeline/health'
import { program } from '../../src/dev/program'
import { loadConfig, type Config } from '../../src/config'
import { totalsOf } from '../../src/core/window/ledger'
import { UserError } from '../../src/errors'
import { openCountryDatabase } from '../../src/geo/country'
import { kafkaClient, withAdmin } from '../../src/kafka/client'
import { byWindow, compare } from '../oracle/compare'
import { eachMessage } from '../oracle/read-log'
import { LogCounter, totalOf, type Reference } from '../oracle/reference'
import { SilenceWatch } from '../oracle/silence'
import { PipelineClient } from '../../src/pipeline/pipeline-client'
import { openDatabase, type Db } from '../../src/postgres/database'
import { createDatabase, migrate } from '../../src/postgres/migrate'
import { storedTotals } from '../../src/postgres/totals'
import { produce } from '../../src/sources/produce'
import { ensureTopic } from '../../src/sources/topic'
import type { IngestStatus } from '../../src/contract/messages'
import type { Disturbance, Point } from './points'
import { paced, recordsOf, WATERMARK_DELAY, WINDOW_SIZE } from './records'
import { readHistories, type Sizes } from './sizes'
import { pipelineStatus } from '../../src/pipeline/status'
import { maintenanceScheduleId } from '../../src/pipeline/maintenance'
import { startPipeline } from '../../src/pipeline/start'

/** Milliseconds. Short, so that a point's last windows close soon after its last record. */
const IDLE_TIMEOUT = 3_000
const LOOK_EVERY = 200
/** A pipeline that has read everything and has nothing under way will not change any more; this waits for stragglers. */
const SETTLES_WITHIN = 10_000
/** `status` reports what a poller's last attempt failed with until the new attempt has run for 30 s. */
const REPORTED_AFTER_KILL = 45_000
const DELETED_AT_ONCE = 8

export interface PointResult {
  point: Point
  /** What is wrong, a line each; none where everything is right. */
  problems: string[]
  seconds: number
  /** Seconds until the pipeline had started, all was in Postgres, all was compared, and all histories were read. */
  phases: Record<Phase, number>
  /** When the disturbance struck; null where there was none. */
  struck: string | null
  records: number
  topicBytes: number
  hits: number
  late: number
  rejected: number
  windows: number
  /** Groups of host, referrer and country in all windows. */
  groups: number
  /** Windows with more groups than MAX_GROUPS. */
  folded: number
  /** Deltas that reached a window twice and were dropped. */
  repeats: number
  sizes: Sizes
  /** `status --json`, where anything was wrong. */
  status?: unknown
}

type Phase = 'started' | 'settled' | 'compared' | 'measured'

export interface RunOptions {
  /** Temporal's client for the servers that the environment names. */
  client: Client
  /** For the workers' logs. */
  folder: string
  /** Milliseconds without any progress after which a point has failed. */
  stalled: number
  signal: AbortSignal
}

/** Runs one point as a new pipeline on the servers that the environment names, and removes it from them. */
export async function runPoint(point: Point, options: RunOptions): Promise<PointResult> {
  const name = `sweep-${point.number}-${randomUUID().slice(0, 8)}`
  const environment = {
    ...process.env,
    KAFKA_GROUP: name,
    KAFKA_TOPIC: name,
    POSTGRES_DB: name,
    IDLE_TIMEOUT: `${IDLE_TIMEOUT}ms`,
    FLUSH_INTERVAL: point.flushInterval,
    MAX_GROUPS: String(point.maxGroups),
    POLLERS: String(point.workers),
    LOG_LEVEL: 'info',
  }
  const config = loadConfig(environment)
  const workers = new Workers(join(options.folder, `point-${point.number}`), environment)
  await createDatabase(config.postgres)
  const db = openDatabase(config.postgres, 2)
  // A point that has failed ends what it still does before it is removed.
  const failed = new AbortController()
  const signal = AbortSignal.any([options.signal, failed.signal])
  try {
    await migrate(db)
    return await new PointRun(point, { ...options, signal }, config, environment, workers, db).run()
  } finally {
    failed.abort()
    await workers.killAll()
    await db.destroy()
    await remove(options.client, config)
  }
}

interface Counted {
  reference: Reference
  /** Longest silence of a partition, milliseconds. */
  silence: number
  bytes: number
}

class PointRun {
  private readonly began = Date.now()
  private readonly kafka
  private readonly pipeline: PipelineClient
  private readonly phases = { started: 0, settled: 0, compared: 0, measured: 0 }
  private struck: { at: number; description: string } | undefined

  constructor(
    private readonly point: Point,
    private readonly options: RunOptions,
    private readonly config: Config,
    private readonly environment: NodeJS.ProcessEnv,
    private readonly workers: Workers,
    private readonly db: Db,
  ) {
    this.kafka = kafkaClient(config.kafka, 'web-traffic-sweep')
    this.pipeline = new PipelineClient(options.client, config)
  }

  async run(): Promise<PointResult> {
    const { point, options, db, config } = this
    const { sending } = await this.start()
    this.reached('started')
    const disturbing = this.disturb(sending)
    // Each is waited for below; whichever fails first must not end the process meanwhile.
    disturbing.catch(() => undefined)
    const records = await sending
    const counting = this.count()
    counting.catch(() => undefined)
    const disturbed = await disturbing
    const unsettled = await this.settle(records)
    this.reached('settled')
    const { reference, silence, bytes } = await counting
    const right = totalOf(reference.hits) + totalOf(reference.late) + reference.rejected
    const topic = right === records ? [] : [`the topic has ${right} records, but ${records} were sent`]

    const [wrong, judged] = await Promise.all([
      compare(db, reference, { maxGroups: point.maxGroups, mayCloseEarly: silence >= IDLE_TIMEOUT }),
      this.askProduct(),
    ])
    this.reached('compared')
    const { sizes, problems } = await readHistories(options.client, config.settings.group, options.signal)
    this.reached('measured')
    const counts = [...topic, ...unsettled, ...wrong]
    const all = [
      ...counts,
      ...disagreements(counts, judged),
      ...problems,
      ...disturbed,
      ...this.workers.endedByThemselves,
    ]
    const windows = [...byWindow(reference.hits).values()]
    return {
      point,
      problems: all,
      seconds: this.seconds,
      phases: this.phases,
      struck: this.struck?.description ?? null,
      records,
      topicBytes: bytes,
      hits: totalOf(reference.hits),
      late: totalOf(reference.late),
      rejected: reference.rejected,
      windows: windows.length,
      groups: reference.hits.size,
      folded: windows.filter(({ size }) => size > point.maxGroups).length,
      repeats: await repeatsDropped(options.client, config.settings.group),
      sizes,
      ...(all.length > 0 && { status: judged.status }),
    }
  }

  private get seconds(): number {
    return Math.round((Date.now() - this.began) / 100) / 10
  }

  private reached(phase: Phase): void {
    this.phases[phase] = this.seconds
  }

  /** Starts the pipeline. `sending` resolves with the number of records: they are sent before that, or from then on. */
  private async start(): Promise<{ sending: Promise<number> }> {
    const { point, workers, kafka, config } = this
    const { topic } = config.settings
    await ensureTopic(kafka, topic, point.partitions)
    const started = Array.from({ length: point.workers }, () => workers.start())
    const begin = () => startPipeline(config, point.workers, 'earliest')
    const ready = () => this.untilReady(started)
    if (point.liveFor === 0) {
      const [records] = await Promise.all([this.send(), ready()])
      await begin()
      return { sending: Promise.resolve(records) }
    }
    await Promise.all([begin(), ready()])
    const sending = this.send()
    sending.catch(() => undefined)
    return { sending }
  }

  private async send(): Promise<number> {
    const { point, kafka, options, config } = this
    const records = recordsOf(point)
    const { sent } = await produce({
      kafka,
      topic: config.settings.topic,
      records: point.liveFor > 0 ? paced(records, point.records, point.liveFor) : records,
      signal: options.signal,
    })
    options.signal.throwIfAborted()
    return sent
  }

  private async count(): Promise<Counted> {
    const counter = new LogCounter(
      await openCountryDatabase(this.config.geoDatabase),
      WINDOW_SIZE,
      WATERMARK_DELAY,
    )
    const silence = new SilenceWatch()
    let bytes = 0
    await eachMessage(this.kafka, this.config.settings.topic, (partition, message) => {
      counter.add(partition, message)
      silence.add(partition, message)
      bytes += message.value?.length ?? 0
    })
    return { reference: counter.counted, silence: silence.longest, bytes }
  }

  /** Carries out the point's disturbance; returns what is wrong with how a worker ended. */
  private async disturb(sending: Promise<number>): Promise<string[]> {
    const { workers, point, options } = this
    const { disturbance } = point
    const { kind, after, pause, victim } = disturbance
    const { signal } = options
    if (kind === 'none') return []
    if (disturbance.during === 'close') await this.untilClosing(await sending)
    await sleep(after, undefined, { signal })
    const problems: string[] = []
    this.struck = { at: Date.now(), description: await this.describeStrike(disturbance) }
    const worker = workers.pick(victim)
    if (kind === 'kill') await workers.kill(worker)
    else await workers.stop(worker).catch((error: unknown) => problems.push((error as Error).message))
    await sleep(pause, undefined, { signal })
    await this.untilReady([workers.start()])
    return problems
  }

  private async describeStrike({ kind }: Disturbance): Promise<string> {
    const signal = kind === 'kill' ? 'SIGKILL' : 'SIGTERM'
    const { records } = await storedTotals(this.db)
    const open = await openWorkflows(this.options.client, this.config.settings.group)
    const seconds = ((Date.now() - this.began) / 1_000).toFixed(1)
    return `${signal} after ${seconds} s, with ${records} records in Postgres and ${open} workflows under way`
  }

  private async untilReady(started: WorkerProcess[]): Promise<void> {
    for (const worker of started) await this.workers.untilReady(worker)
  }

  /** Resolves when all records are done and every window has been told to close. */
  private async untilClosing(records: number): Promise<void> {
    const deadline = Date.now() + this.options.stalled
    while (Date.now() < deadline) {
      const status = await this.ledger()
      if (status && hasReadAll(status, records)) return
      await sleep(LOOK_EVERY / 2, undefined, { signal: this.options.signal })
    }
  }

  /** Undefined while no worker answers. */
  private async ledger(): Promise<IngestStatus | undefined> {
    try {
      return await this.pipeline.status()
    } catch (error) {
      if (error instanceof UserError) return undefined
      throw error
    }
  }

  /** Waits until all records are in Postgres and nothing is under way to it; says what is missing where that fails. */
  private async settle(records: number): Promise<string[]> {
    const { options, db, config } = this
    let before = ''
    let since = Date.now()
    for (;;) {
      const [{ records: accounted, windows }, open, ledger] = await Promise.all([
        storedTotals(db),
        openWorkflows(options.client, config.settings.group),
        this.ledger(),
      ])
      if (accounted === records && open === 0) return []
      if (accounted > records) return [`${accounted} records are in Postgres, but the topic has ${records}`]
      const done = ledger ? totalsOf(ledger.ledger).records : 0
      const now = JSON.stringify([accounted, windows, open, done, ledger?.ledger.openWindows.length])
      if (now !== before) since = Date.now()
      before = now
      const isOver = open === 0 && ledger && hasReadAll(ledger, records)
      const waited = Date.now() - since
      if (waited > (isOver ? SETTLES_WITHIN : options.stalled))
        return [
          `nothing has changed for ${Math.round(waited / 1_000)} s: ${accounted} of ${records} records are in Postgres, ` +
            `the ledger has ${done} as done and ${ledger?.ledger.openWindows.length ?? 'unknown'} windows open, ` +
            `${open} workflows of windows, pieces and exceptions are open`,
        ]
      await sleep(LOOK_EVERY, undefined, { signal: options.signal })
    }
  }

  private async askProduct(): Promise<Judged> {
    const [status, verify] = await Promise.all([this.status(), this.command('verify', '--json')])
    const summary = parsed<{ summary: string }>(verify.stdout)?.summary
    return {
      ...status,
      verifyCode: verify.code,
      verifySaid: summary ?? verify.stderr.trim(),
    }
  }

  /** What `status --json` prints. */
  private async status(): Promise<Pick<Judged, 'status' | 'statusProblems'>> {
    const { client } = this.options
    try {
      const status = await pipelineStatus(client, this.config)
      const problems = await findProblems(client, status)
      return {
        status: { ...status, problems },
        statusProblems: problems.filter(problem => !this.isPast(problem)),
      }
    } catch (error) {
      if (error instanceof UserError) return { status: error.message, statusProblems: [error.message] }
      throw error
    }
  }

  /** Whether `status` still reports the attempt that the disturbance has ended. */
  private isPast(problem: string): boolean {
    const { struck } = this
    return (
      struck !== undefined &&
      Date.now() - struck.at < REPORTED_AFTER_KILL &&
      /^Poller \d+ (fails \(attempt|waits for a worker)/.test(problem)
    )
  }

  private async command(...args: string[]): Promise<{ stdout: string; stderr: string; code: number }> {
    const options = { env: this.environment, maxBuffer: 64 << 20, signal: this.options.signal }
    try {
      return { ...(await promisify(execFile)(process.execPath, [program, ...args], options)), code: 0 }
    } catch (error) {
      this.options.signal.throwIfAborted()
      return error as { stdout: string; stderr: string; code: number }
    }
  }
}

interface Judged {
  status: unknown
  statusProblems: string[]
  verifyCode: number
  verifySaid: string
}

/** Where `status` and `verify` say otherwise than the independent count, which decides. */
function disagreements(counts: string[], judged: Judged): string[] {
  const { statusProblems, verifyCode, verifySaid } = judged
  if (counts.length === 0)
    return [
      ...statusProblems.map(problem => `status is wrong, since every count is right: ${problem}`),
      ...(verifyCode === 0
        ? []
        : [`verify is wrong, since every count is right; it exits with ${verifyCode}: ${verifySaid}`]),
    ]
  return [
    ...(statusProblems.length === 0
      ? ['status is wrong: it has no problems, but the counts are wrong']
      : statusProblems.map(problem => `status says: ${problem}`)),
    verifyCode === 0
      ? `verify is wrong: it exits with 0, but the counts are wrong: ${verifySaid}`
      : `verify says so too, it exits with ${verifyCode}: ${verifySaid}`,
  ]
}

function hasReadAll({ ledger }: IngestStatus, records: number): boolean {
  return totalsOf(ledger).records >= records && ledger.openWindows.length === 0
}

function parsed<T>(json: string): T | undefined {
  try {
    return JSON.parse(json) as T
  } catch {
    return undefined
  }
}

/** Removes a point's workflows, topic and database, so that the servers stay fast. */
async function remove(
  client: Client,
  { settings: { group, topic }, kafka, postgres }: Config,
): Promise<void> {
  await client.schedule
    .getHandle(maintenanceScheduleId(group))
    .delete()
    .catch(() => undefined)
  const runs = client.workflow.list({ query: `Pipeline = '${group}'` })[Symbol.asyncIterator]()
  const deleteNext = async () => {
    for (let next = await runs.next(); !next.done; next = await runs.next()) {
      const { workflowId, runId } = next.value
      const workflowExecution = { workflowId, runId }
      const { namespace } = client.options
      // A run that is still open is terminated by it.
      await client.workflowService
        .deleteWorkflowExecution({ namespace, workflowExecution })
        .catch(() => undefined)
    }
  }
  await Promise.all(Array.from({ length: DELETED_AT_ONCE }, deleteNext))
  await withAdmin(kafka, async admin => {
    if ((await admin.listTopics()).includes(topic)) await admin.deleteTopics({ topics: [topic] })
  })
  const pool = new Pool({ ...postgres, database: 'postgres', max: 1 })
  await pool.query(`drop database if exists "${postgres.database}" with (force)`).finally(() => pool.end())
}
