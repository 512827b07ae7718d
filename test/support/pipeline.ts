import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { ConfigResourceTypes, Kafka, logLevel, type KafkaMessage, type Message } from 'kafkajs'
import { Pool } from 'pg'
import { readLog } from '../../trials/oracle/read-log'
import { loadConfig, type Config } from '../../src/config'
import { totalsOf } from '../../src/core/window/ledger'
import type { RangeTotals } from '../../src/core/window/protocol'
import { ingestId } from '../../src/contract/ids'
import { kafkajsConnection } from '../../src/kafka/connection'
import { withTemporal } from '../../src/temporal/connection'
import { ingestStatus } from '../../src/contract/messages'
import { openDatabase, type Db } from '../../src/postgres/database'
import { createDatabase, migrate } from '../../src/postgres/migrate'
import { storedTotals, type StoredTotals } from '../../src/postgres/totals'
import { program } from '../../src/dev/program'
import type { Role } from '../../src/workers/roles'
import { runCommand, type Outcome } from './commands'
import { until } from './until'
import type { PipelineStatus } from '../../src/pipeline/status'
import { startPipeline } from '../../src/pipeline/start'

export interface LedgerSums extends RangeTotals {
  /** Starts, epoch ms. */
  openWindows: number[]
}

/**
 * A pipeline of its own on the shared cluster, driven by the commands that a user types: its group, topic and
 * database bear a new name. Workers are processes that end with the test run, however it ends.
 */
export class TestPipeline {
  readonly config: Config
  db: Db
  readonly kafka: Kafka
  /** What the workers have logged, a line each. */
  private readonly log: string[] = []
  private readonly environment: Record<string, string>
  private readonly workers = new Set<ChildProcess>()

  constructor(settings: Record<string, string> = {}) {
    const name = `test-${randomUUID().slice(0, 8)}`
    this.environment = {
      ...(process.env as Record<string, string>),
      KAFKA_GROUP: name,
      KAFKA_TOPIC: name,
      POSTGRES_DB: name,
      IDLE_TIMEOUT: '1s',
      FLUSH_INTERVAL: '500ms',
      LOG_LEVEL: 'warn',
      ...settings,
    }
    this.config = loadConfig(this.environment)
    this.db = openDatabase(this.config.postgres, 2)
    this.kafka = new Kafka({ ...kafkajsConnection(this.config.kafka), logLevel: logLevel.NOTHING })
  }

  /** Runs a command of the product that must succeed; what it prints. */
  async command(...args: string[]): Promise<string> {
    const outcome = await this.attempt(...args)
    const { stdout, stderr, code } = outcome
    if (code === 0) return stdout
    throw Object.assign(new Error(`web-traffic ${args.join(' ')} exited with ${code}: ${stderr}`), outcome)
  }

  /** Runs a command that may fail; what it prints, and its exit code. */
  attempt(...args: string[]): Promise<Outcome> {
    return this.attemptWith({}, ...args)
  }

  /** As {@link attempt}, with other settings than the pipeline's. */
  attemptWith(settings: Record<string, string>, ...args: string[]): Promise<Outcome> {
    return runCommand(args, { ...this.environment, ...settings })
  }

  /** Makes its database and its topic, and starts it: what `migrate` and `start` do, without a process for each. */
  async begin(partitions: number, pollers?: number): Promise<void> {
    await Promise.all([this.migrate(), this.createTopic(partitions)])
    await this.start(pollers)
  }

  async migrate(): Promise<void> {
    await createDatabase(this.config.postgres)
    await migrate(this.db)
  }

  async start(pollers = this.config.pollers): Promise<void> {
    await startPipeline(this.config, pollers, 'earliest')
  }

  async createTopic(partitions: number): Promise<void> {
    const { topic } = this.config.settings
    await this.withAdmin(async admin => {
      await admin.createTopics({ topics: [{ topic, numPartitions: partitions }], waitForLeaders: false })
      // By itself kafkajs waits for leaders, but fails where the broker does not know the topic yet.
      await until(async () => {
        const { topics } = await admin.fetchTopicMetadata({ topics: [topic] }).catch(() => ({ topics: [] }))
        return topics.some(({ partitions: led }) => led.length === partitions)
      }, 30_000)
    })
  }

  /** Gives the topic these settings, and the broker's defaults for all others. */
  alterTopic(settings: Record<string, string>): Promise<void> {
    return this.alterConfig(ConfigResourceTypes.TOPIC, this.config.settings.topic, settings)
  }

  /** As {@link alterTopic}, for the cluster's only broker. */
  alterBroker(settings: Record<string, string>): Promise<void> {
    return this.alterConfig(ConfigResourceTypes.BROKER, '1', settings)
  }

  private async alterConfig(
    type: ConfigResourceTypes,
    name: string,
    settings: Record<string, string>,
  ): Promise<void> {
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
    await this.withAdmin(admin =>
      admin.alterConfigs({ validateOnly: false, resources: [{ type, name, configEntries }] }),
    )
  }

  async withAdmin<T>(use: (admin: ReturnType<Kafka['admin']>) => Promise<T>): Promise<T> {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      return await use(admin)
    } finally {
      await admin.disconnect()
    }
  }

  startWorker(role: Role = 'all', settings: Record<string, string> = {}): ChildProcess {
    const worker = spawn(process.execPath, [program, 'worker', '--role', role], {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      env: { ...this.environment, ...settings },
    })
    createInterface(worker.stderr!).on('line', line => {
      this.log.push(line)
      process.stderr.write(`${line}\n`)
    })
    this.workers.add(worker)
    worker.once('exit', () => this.workers.delete(worker))
    return worker
  }

  /** Ends a worker as an operator would; its exit code. */
  async stopWorker(worker: ChildProcess): Promise<number | null> {
    const exited = once(worker, 'exit') as Promise<[number | null]>
    worker.kill('SIGTERM')
    const [code] = await exited
    return code
  }

  /** Ends a worker as a power cut would. */
  async killWorker(worker: ChildProcess): Promise<void> {
    const exited = once(worker, 'exit')
    worker.kill('SIGKILL')
    await exited
  }

  /** Asks the ledger until it holds so many records for done. */
  async untilDone(records: number, within = 60_000): Promise<LedgerSums> {
    const deadline = Date.now() + within
    return withTemporal(async client => {
      for (;;) {
        const sums = await this.askLedger(client)
        if (sums && sums.records >= records) return sums
        if (Date.now() > deadline) throw new Error(`${sums?.records ?? 0} of ${records} records are done`)
        await sleep(20)
      }
    })
  }

  private async askLedger(client: Client): Promise<LedgerSums | undefined> {
    const handle = client.workflow.getHandle(ingestId(this.config.settings.group))
    const status = await handle.query(ingestStatus).catch(() => undefined)
    if (!status) return undefined
    return { ...totalsOf(status.ledger), openWindows: status.ledger.openWindows }
  }

  /** Waits until Temporal shows one of the activities of a workflow as failed and to be tried again; its failure. */
  async untilRetried(workflowId: string, activities: string | string[], within = 60_000): Promise<string> {
    const deadline = Date.now() + within
    return withTemporal(async client => {
      for (;;) {
        const { raw } = await client.workflow.getHandle(workflowId).describe()
        const pending = raw.pendingActivities?.find(({ activityType }) =>
          activities.includes(activityType?.name ?? '-'),
        )
        if (pending?.lastFailure && pending.attempt! > 1) return pending.lastFailure.message ?? ''
        if (Date.now() > deadline)
          throw new Error(`${workflowId} shows no ${String(activities)} that is retried`)
        await sleep(200)
      }
    })
  }

  get logged(): string {
    return this.log.join('\n')
  }

  async untilLogged(text: string, within = 30_000): Promise<void> {
    const deadline = Date.now() + within
    while (!this.log.some(line => line.includes(text))) {
      if (Date.now() > deadline) throw new Error(`no worker has logged "${text}"`)
      await sleep(50)
    }
  }

  /** Sends records to the topic, in order within each partition. */
  /** In requests of 2,000; resolves with how many. */
  async send(messages: Iterable<Message>): Promise<number> {
    const { topic } = this.config.settings
    // Where one partition of a request is refused, kafkajs repeats them all: the broker has to know repeats.
    const producer = this.kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    let sent = 0
    let batch: Message[] = []
    const flush = async () => {
      await producer.send({ topic, messages: batch })
      sent += batch.length
      batch = []
    }
    for (const message of messages) if (batch.push(message) === 2_000) await flush()
    if (batch.length > 0) await flush()
    await producer.disconnect()
    return sent
  }

  /** Whether it is healthy or not. */
  async status(): Promise<PipelineStatus> {
    const { stdout } = await this.attempt('status', '--json')
    return JSON.parse(stdout) as PipelineStatus
  }

  sums(): Promise<StoredTotals> {
    return storedTotals(this.db)
  }

  async query<Row extends object>(text: string): Promise<Row[]> {
    return (await new Query(this.config).all<Row>(text)).rows
  }

  /** Waits until so many records are in Postgres, as hits, late or rejected; however slowly, if it gets on. */
  async untilAccounted(records: number, stalled = 60_000): Promise<void> {
    let before = 0
    let deadline = Date.now() + stalled
    for (;;) {
      const { records: accounted } = await this.sums()
      if (accounted === records) return
      if (accounted !== before) deadline = Date.now() + stalled
      before = accounted
      if (accounted > records)
        throw new Error(`${accounted} records are accounted for, but ${records} were sent`)
      if (Date.now() > deadline) throw new Error(`${accounted} of ${records} records are accounted for`)
      await sleep(200)
    }
  }

  /** Reads the whole topic with kafkajs alone, partition by partition in order. */
  readLog(): Promise<KafkaMessage[][]> {
    return readLog(this.kafka, this.config.settings.topic)
  }

  async killWorkers(): Promise<void> {
    await Promise.all([...this.workers].map(worker => this.killWorker(worker)))
  }

  /** A copy of the database as it is; nobody may be connected to it. */
  async copyDatabase(name: string): Promise<void> {
    await this.db.destroy()
    await this.maintain(
      `create database "${this.copyNamed(name)}" template "${this.config.postgres.database}"`,
    )
    this.db = openDatabase(this.config.postgres, 2)
  }

  /** Puts a copy in the database's place. */
  async restoreDatabase(name: string): Promise<void> {
    const { database } = this.config.postgres
    await this.db.destroy()
    await this.maintain(`drop database "${database}" with (force)`)
    await this.maintain(`alter database "${this.copyNamed(name)}" rename to "${database}"`)
    this.db = openDatabase(this.config.postgres, 2)
  }

  private copyNamed(name: string): string {
    return `${this.config.postgres.database}-${name}`
  }

  private async maintain(statement: string): Promise<void> {
    await new Query({ postgres: { ...this.config.postgres, database: 'postgres' } }).all(statement)
  }

  /** Ends the workers, terminates the pipeline's workflows and drops its database and topic. */
  async destroy(): Promise<void> {
    await this.killWorkers()
    await this.db.destroy()
    const { group, topic } = this.config.settings
    await terminateWorkflows(group)
    // Another pipeline's topic is left to it; and kafkajs tries for ten seconds to delete what is not there.
    if (topic === group)
      await this.withAdmin(async admin => {
        if ((await admin.listTopics()).includes(topic)) await admin.deleteTopics({ topics: [topic] })
      }).catch(() => undefined)
    await this.maintain(`drop database if exists "${this.config.postgres.database}" with (force)`)
  }
}

class Query {
  constructor(private readonly config: Pick<Config, 'postgres'>) {}

  async all<Row extends object>(text: string): Promise<{ rows: Row[] }> {
    const pool = new Pool({ ...this.config.postgres, max: 1 })
    // A connection that is closing while its server goes, or its database is dropped, is none to fail over.
    pool.on('error', () => undefined)
    try {
      return await pool.query<Row>(text)
    } finally {
      await pool.end()
    }
  }
}

async function terminateWorkflows(group: string): Promise<void> {
  await withTemporal(async client => {
    const running = client.workflow.list({
      query: `ExecutionStatus = 'Running' and WorkflowId starts_with '${group}/'`,
    })
    for await (const { workflowId } of running)
      await client.workflow
        .getHandle(workflowId)
        .terminate('the test is over')
        .catch(() => undefined)
  })
}
