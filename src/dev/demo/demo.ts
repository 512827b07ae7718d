import { setTimeout as sleep } from 'node:timers/promises'
import pc from 'picocolors'
import { UserError } from '../../errors'
import { loadConfig, type Config } from '../../config'
import { Dashboard } from '../../dashboard/server'
import { kafkaClient } from '../../kafka/client'
import { openDatabase, type Db } from '../../postgres/database'
import { createDatabase, migrate } from '../../postgres/migrate'
import { storedTotals } from '../../postgres/totals'
import { temporalConfig, withTemporal } from '../../temporal/connection'
import { produce } from '../../sources/produce'
import { accessLogSource, type Source } from '../../sources/source'
import { Stage } from './stage'
import { finishedSince, heading, windowRow } from './window-table'
import { pipelineStatus, type PipelineStatus } from '../../pipeline/status'
import { startPipeline } from '../../pipeline/start'
import { liveSource } from '../traffic/source'

export interface DemoOptions {
  signal: AbortSignal
  /** Live events a second. */
  rate: number
  /** Milliseconds; without it the demo goes on until it is interrupted. */
  duration?: number
  /** An access log to run through windows of five minutes, in place of live traffic. */
  log?: string
  host: string
}

const FOLDER = '.demo'
const PARTITIONS = 4
/** How long, after the traffic has ended, the last windows may take: their delay, the idle timeout, and some. */
const SETTLE_WITHIN = 60_000

const LIVE = { WINDOW_SIZE: '10s', WATERMARK_DELAY: '3s', IDLE_TIMEOUT: '3s', FLUSH_INTERVAL: '1s' }
const HISTORY = { IDLE_TIMEOUT: '3s', FLUSH_INTERVAL: '1s' }

/** Runs the demo; false where records, hits, late and rejected did not add up in the end. */
export async function runDemo(options: DemoOptions): Promise<boolean> {
  const { signal } = options
  const stage = new Stage(FOLDER)
  try {
    say('Starting Temporal, Kafka and Postgres for this demo …')
    const environment = await stage.startCluster(line => console.log(pc.dim(`  ${line}`)), signal)
    const own = { KAFKA_GROUP: 'demo', KAFKA_TOPIC: 'web_traffic_topic', POSTGRES_DB: 'web_traffic' }
    Object.assign(process.env, environment, own, options.log === undefined ? LIVE : HISTORY)
    const config = loadConfig()
    await createDatabase(config.postgres)
    const db = openDatabase(config.postgres, 2)
    const webUi = process.env.TEMPORAL_UI_URL
    const dashboard = new Dashboard(config, { webUi, namespace: temporalConfig().namespace })
    try {
      await migrate(db)
      return await play(options, config, db, stage, dashboard)
    } finally {
      await dashboard.end()
      await db.destroy()
    }
  } catch (error) {
    if (signal.aborted) return true
    throw error
  } finally {
    say('Taking everything down that the demo started …')
    await stage.end()
  }
}

async function play(
  options: DemoOptions,
  config: Config,
  db: Db,
  stage: Stage,
  dashboard: Dashboard,
): Promise<boolean> {
  const ended = new AbortController()
  const signal = AbortSignal.any([options.signal, ended.signal])
  const traffic = sendTraffic(options, config, signal)
  const sending = traffic.done.catch((error: unknown) => {
    ended.abort()
    throw error
  })
  await Promise.race([traffic.topicReady, sending])
  stage.startWorker()
  say(await startPipeline(config, 1, 'earliest'))
  say(`Temporal Web UI: ${pc.bold(process.env.TEMPORAL_UI_URL ?? '')} (workflows "demo/window/…")`)
  say(`Dashboard:       ${pc.bold(await dashboard.start())}`)
  console.log(pc.bold(heading()))
  const watch = new DemoWatch(config, db, stage)
  if (options.duration !== undefined && options.log === undefined)
    setTimeout(() => ended.abort(), options.duration).unref()
  await Promise.race([watch.until(signal), sending.then(() => sleep(0))])
  const { sent } = await sending
  if (options.signal.aborted) return true
  const settled = await watch.untilSettled(
    sent,
    AbortSignal.any([options.signal, AbortSignal.timeout(SETTLE_WITHIN)]),
  )
  if (options.log !== undefined && options.duration === undefined && !options.signal.aborted) {
    say('All of it is counted. Look around in the Web UI; Ctrl-C ends the demo.')
    await watch.until(options.signal)
  }
  return settled
}

function sendTraffic(options: DemoOptions, config: Config, signal: AbortSignal) {
  let onTopic: () => void = () => undefined
  const topicReady = new Promise<void>(resolve => {
    onTopic = resolve
  })
  const send = async () => {
    const source = await openSource(options)
    try {
      return await produce({
        kafka: kafkaClient(config.kafka, 'web-traffic-demo'),
        topic: config.settings.topic,
        partitions: PARTITIONS,
        records: source.records,
        onTopic: () => onTopic(),
        signal,
      })
    } finally {
      source.close()
    }
  }
  return { topicReady, done: send() }
}

function openSource({ log, host, rate }: DemoOptions): Promise<Source> {
  if (log !== undefined) return accessLogSource(log, { scheme: 'http', host })
  const people = { seed: 1, referrers: 2_000, disorder: 2_000, late: 0.001, malformed: 0.001 }
  return Promise.resolve(liveSource(people, { rate }))
}

/** Prints windows as they close, and knows when everything is accounted for. */
class DemoWatch {
  private readonly printed = new Set<number>()
  private since = new Date(0)

  constructor(
    private readonly config: Config,
    private readonly db: Db,
    private readonly stage: Stage,
  ) {}

  async until(signal: AbortSignal): Promise<void> {
    for (let second = 0; !signal.aborted; second++) {
      const printed = await this.printFinished()
      if (printed > 0 || second % 5 === 4) await this.printLag()
      await sleep(1_000, undefined, { signal }).catch(() => undefined)
    }
  }

  private async printFinished(): Promise<number> {
    if (this.stage.workerEnded) throw new UserError(`The worker has ended; see ${this.stage.workerLog}.`)
    // Postgres knows microseconds, a Date does not: the last one is found again.
    const found = await finishedSince(this.db, this.since)
    const finished = found.filter(({ start }) => !this.printed.has(start.getTime()))
    for (const window of finished) {
      this.printed.add(window.start.getTime())
      console.log(windowRow(window, this.config.settings.windowSize))
      this.since = window.closedAt
    }
    return finished.length
  }

  private async printLag(): Promise<void> {
    const status = await this.status()
    if (!status) return
    const { lag, windows, totals } = status
    const figures = [
      `lag ${lag}`,
      `${windows.open} windows open`,
      `late ${totals.late}`,
      `rejected ${totals.rejected}`,
    ]
    console.log(pc.dim(`  ${figures.join(', ')}`))
  }

  private status(): Promise<PipelineStatus | undefined> {
    return withTemporal(client => pipelineStatus(client, this.config))
  }

  /** Waits until every record that was sent is in Postgres, and says how they add up. */
  async untilSettled(sent: number, signal: AbortSignal): Promise<boolean> {
    say(`The traffic has ended after ${sent.toLocaleString('en-US')} records; the last windows close …`)
    let sums = await storedTotals(this.db)
    while (sums.records !== sent && !signal.aborted) {
      await sleep(500, undefined, { signal }).catch(() => undefined)
      await this.printFinished()
      sums = await storedTotals(this.db)
    }
    const { records, windows, hits, late, rejected } = sums
    const adds = records === sent
    const line = `records ${sent} ${adds ? '=' : '≠'} hits ${hits} + late ${late} + rejected ${rejected}, in ${windows} windows`
    console.log((adds ? pc.green : pc.red)(pc.bold(line)))
    return adds
  }
}

function say(line: string): void {
  console.log(pc.cyan(line))
}
