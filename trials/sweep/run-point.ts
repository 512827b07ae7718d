import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { loadConfig, type Config } from '../../src/config'
import { kafkaClient } from '../../src/kafka/client'
import { startPipeline } from '../../src/pipeline/start'
import { openDatabase, type Db } from '../../src/postgres/database'
import { createDatabase, migrate } from '../../src/postgres/migrate'
import { produce } from '../../src/sources/produce'
import { ensureTopic } from '../../src/sources/topic'
import { repeatsDropped } from '../chaos/verdict'
import { Workers, type WorkerProcess } from '../chaos/workers'
import { byWindow, compare, isFolded } from '../oracle/compare'
import { countTopic } from '../oracle/read-log'
import { totalOf, totalRecords, type LogCounter } from '../oracle/reference'
import type { Point } from './points'
import { ProductChecks } from './product-checks'
import { paced, recordsOf, WATERMARK_DELAY, WINDOW_SIZE } from './records'
import { removePipeline } from './remove-pipeline'
import type { Phase, PointResult } from './result'
import { SettleWatch } from './settle-watch'
import { readHistories } from './sizes'

/** Milliseconds. Short, so that the last windows close soon after the last record. */
const IDLE_TIMEOUT = 3_000

export interface RunOptions {
  /** A client of the Temporal server that the environment names. */
  client: Client
  /** For the workers' logs. */
  folder: string
  /** Milliseconds without progress after which a point has failed. */
  stalled: number
  signal: AbortSignal
}

/** Runs a point as a new pipeline on the servers that the environment names, and removes the pipeline again. */
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
  // Aborts what a failed point still does before its pipeline is removed.
  const failed = new AbortController()
  const signal = AbortSignal.any([options.signal, failed.signal])
  try {
    await migrate(db)
    return await new PointRun(point, { ...options, signal }, config, environment, workers, db).run()
  } finally {
    failed.abort()
    await workers.killAll()
    await db.destroy()
    await removePipeline(options.client, config)
  }
}

class PointRun {
  private readonly began = Date.now()
  private readonly kafka
  private readonly watch: SettleWatch
  private readonly checks: ProductChecks
  private readonly phases: Record<Phase, number> = { started: 0, settled: 0, compared: 0, measured: 0 }
  private struck: { at: number; description: string } | undefined

  constructor(
    private readonly point: Point,
    private readonly options: RunOptions,
    private readonly config: Config,
    environment: NodeJS.ProcessEnv,
    private readonly workers: Workers,
    private readonly db: Db,
  ) {
    const { client, stalled, signal } = options
    this.kafka = kafkaClient(config.kafka, 'web-traffic-sweep')
    this.watch = new SettleWatch(client, config, db, stalled, signal)
    this.checks = new ProductChecks(client, config, environment, signal)
  }

  async run(): Promise<PointResult> {
    const { point, options, db, config } = this
    const { group, topic } = config.settings
    const { sending } = await this.start()
    this.reached('started')
    const disturbing = this.disturb(sending)
    // Awaited below. Until then a rejection must not end the process.
    disturbing.catch(() => undefined)
    const sent = await sending
    const rules = { windowSize: WINDOW_SIZE, watermarkDelay: WATERMARK_DELAY }
    const counting = countTopic(this.kafka, topic, rules, config.geoDatabase)
    counting.catch(() => undefined)
    const badlyEnded = await disturbing
    const unsettled = await this.watch.untilSettled(sent)
    this.reached('settled')
    const log = await counting
    const found = totalRecords(log.counted)
    const missing = found === sent ? [] : [`the topic has ${found} records, but ${sent} were sent`]
    const mayCloseEarly = log.longestSilence >= IDLE_TIMEOUT
    const [differences, answers] = await Promise.all([
      compare(db, log.counted, { maxGroups: point.maxGroups, mayCloseEarly }),
      this.checks.run(this.struck?.at),
    ])
    this.reached('compared')
    const histories = await readHistories(options.client, group, options.signal)
    this.reached('measured')
    const wrongCounts = [...missing, ...unsettled, ...differences]
    const problems = [
      ...wrongCounts,
      ...answers.disagreements(wrongCounts),
      ...histories.problems,
      ...badlyEnded,
      ...this.workers.diedUnexpectedly,
    ]
    return {
      ...this.figures(log),
      problems,
      records: sent,
      repeats: await repeatsDropped(options.client, group),
      sizes: histories.sizes,
      ...(problems.length > 0 && { status: answers.status }),
    }
  }

  private figures({ counted, bytes }: LogCounter) {
    const windows = [...byWindow(counted.hits).values()]
    return {
      point: this.point,
      seconds: this.seconds,
      phases: this.phases,
      struck: this.struck?.description ?? null,
      topicBytes: bytes,
      hits: totalOf(counted.hits),
      late: totalOf(counted.late),
      rejected: counted.rejected,
      windows: windows.length,
      groups: counted.hits.size,
      folded: windows.filter(window => isFolded(window, this.point.maxGroups)).length,
    }
  }

  private get seconds(): number {
    return Math.round((Date.now() - this.began) / 100) / 10
  }

  private reached(phase: Phase): void {
    this.phases[phase] = this.seconds
  }

  /** Starts the pipeline, after a backlog was sent or before live traffic. `sending` resolves with the number of records. */
  private async start(): Promise<{ sending: Promise<number> }> {
    const { point, workers, kafka, config } = this
    await ensureTopic(kafka, config.settings.topic, point.partitions)
    const ready = this.untilReady(Array.from({ length: point.workers }, () => workers.start()))
    const begin = () => startPipeline(config, point.workers, 'earliest')
    if (point.liveFor === 0) {
      const [records] = await Promise.all([this.send(), ready])
      await begin()
      return { sending: Promise.resolve(records) }
    }
    await Promise.all([begin(), ready])
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

  /** Carries out the disturbance of the point; returns a line for a worker that did not drain properly. */
  private async disturb(sending: Promise<number>): Promise<string[]> {
    const { workers, options, watch } = this
    const { kind, during, after, pause, victim } = this.point.disturbance
    const { signal } = options
    if (kind === 'none') return []
    if (during === 'close') await watch.untilClosing(await sending)
    await sleep(after, undefined, { signal })
    const problems: string[] = []
    const seconds = ((Date.now() - this.began) / 1_000).toFixed(1)
    const name = kind === 'kill' ? 'SIGKILL' : 'SIGTERM'
    const at = Date.now()
    this.struck = { at, description: `${name} after ${seconds} s, with ${await watch.describe()}` }
    const worker = workers.pick(victim)
    if (kind === 'kill') await workers.kill(worker)
    else await workers.stop(worker).catch((error: unknown) => problems.push((error as Error).message))
    await sleep(pause, undefined, { signal })
    await this.untilReady([workers.start()])
    return problems
  }

  private async untilReady(started: WorkerProcess[]): Promise<void> {
    await Promise.all(started.map(worker => this.workers.untilReady(worker)))
  }
}
