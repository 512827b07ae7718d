import { setTimeout as sleep } from 'node:timers/promises'
import pc from 'picocolors'
import { loadConfig, type Config } from '../../config'
import { Dashboard } from '../../dashboard/server'
import { kafkaClient } from '../../kafka/client'
import { startPipeline } from '../../pipeline/start'
import { openDatabase, type Db } from '../../postgres/database'
import { createDatabase, migrate } from '../../postgres/migrate'
import { produce } from '../../sources/produce'
import { accessLogSource, type Source } from '../../sources/source'
import { temporalConfig } from '../../temporal/connection'
import { liveSource } from '../traffic/source'
import { DemoWatch, say } from './demo-watch'
import { Stage } from './stage'
import { heading } from './window-table'

export interface DemoOptions {
  signal: AbortSignal
  /** Live events per second. */
  rate: number
  /** Milliseconds of live traffic; by default until interrupted. */
  duration?: number
  /** An access log to read instead of live traffic. */
  log?: string
  /** The host of the log. */
  host: string
}

const FOLDER = '.demo'
const PARTITIONS = 4
/** Milliseconds that the last windows may take: more than their watermark delay and the idle timeout. */
const SETTLE_WITHIN = 60_000

const HISTORY = { IDLE_TIMEOUT: '3s', FLUSH_INTERVAL: '1s' }
const LIVE = { ...HISTORY, WINDOW_SIZE: '10s', WATERMARK_DELAY: '3s' }

/** Runs the demo; returns false if hits, late and rejected events did not add up to the records sent. */
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
    say('Stopping everything that the demo started …')
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
    say('The whole log is counted. Look around in the Web UI; Ctrl-C ends the demo.')
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
  const options = { seed: 1, referrers: 2_000, disorder: 2_000, late: 0.001, malformed: 0.001 }
  return Promise.resolve(liveSource(options, { rate }))
}
