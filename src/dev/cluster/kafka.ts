import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { UserError } from '../../errors'
import { lastLine, run, type Command } from './command'
import { portOf, type Component, type ClusterContext } from './component'
import { buildFolder } from './install'
import { findKafkaProgram, type KafkaProgram } from './kafka-program'
import { isReachable } from './ports'

/** Apache Kafka: one node that is both broker and controller. */
export const kafka: Component = {
  name: 'kafka',
  title: 'Kafka',
  addressVariable: 'KAFKA_URL',
  externalVariables: /^KAFKA_(URL|TLS|TLS_(CA|CERT|KEY)|SASL_(MECHANISM|USERNAME|PASSWORD))$/,
  ports: { main: { purpose: 'Kafka', usual: 9092 }, controller: { purpose: "Kafka's controller" } },
  readyWithinMs: 60_000,
  stopSignal: 'SIGTERM',

  async find(context) {
    const program = await findKafkaProgram(context)
    return {
      description: program.description,
      prepare: (folder, ports) => prepare(program, folder, ports, context),
    }
  },

  async probe(ports) {
    const port = portOf(ports, 'main')
    if (!(await isReachable('127.0.0.1', port, 1000))) throw new Error('no listener yet')
    const client = new Kafka({
      brokers: [`127.0.0.1:${port}`],
      logLevel: logLevel.NOTHING,
      connectionTimeout: 2000,
      requestTimeout: 5000,
      retry: { retries: 0 },
    })
    const admin = client.admin()
    try {
      await admin.connect()
      const cluster = await admin.describeCluster()
      if (cluster.brokers.length === 0) throw new Error('the broker has not registered yet')
      await admin.listTopics()
    } finally {
      await admin.disconnect()
    }
  },

  variables: ports => ({ KAFKA_URL: `127.0.0.1:${portOf(ports, 'main')}` }),
}

async function prepare(
  program: KafkaProgram,
  folder: string,
  ports: Record<string, number>,
  context: ClusterContext,
): Promise<Command> {
  const data = join(folder, 'data')
  const logging = join(folder, 'log4j2.properties')
  await writeFile(logging, LOGGING)
  if (!existsSync(data)) await format(program, data, ports, context)
  const configuration = join(folder, 'server.properties')
  await writeFile(configuration, propertiesFile(brokerProperties(data, ports)))
  const command = program.server(configuration, logging)
  return { ...command, cwd: folder, environment: { ...command.environment, LOG_DIR: join(folder, 'logs') } }
}

async function format(
  program: KafkaProgram,
  data: string,
  ports: Record<string, number>,
  { signal }: ClusterContext,
): Promise<void> {
  await buildFolder(data, async folder => {
    const configuration = join(dirname(data), 'format.properties')
    await writeFile(configuration, propertiesFile(brokerProperties(folder, ports)))
    const outcome = await run(program.format(configuration, newClusterId()), 60_000, signal)
    if (!outcome.ok) throw new UserError(`Kafka failed to format its storage: ${lastLine(outcome.output)}`)
    await rm(configuration)
  })
}

export function newClusterId(): string {
  for (;;) {
    const id = randomBytes(16).toString('base64url')
    // The command line would take a leading dash for an option.
    if (!id.startsWith('-')) return id
  }
}

export function brokerProperties(
  data: string,
  ports: Record<string, number>,
): Record<string, string | number | boolean> {
  const broker = `127.0.0.1:${portOf(ports, 'main')}`
  const controller = `127.0.0.1:${portOf(ports, 'controller')}`
  return {
    // A killed broker may rejoin only after its old session has expired, by default after 9 s.
    'broker.session.timeout.ms': 4000,
    'broker.heartbeat.interval.ms': 500,
    'process.roles': 'broker,controller',
    'node.id': 1,
    listeners: `PLAINTEXT://${broker},CONTROLLER://${controller}`,
    'advertised.listeners': `PLAINTEXT://${broker}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'controller.quorum.voters': `1@${controller}`,
    'log.dirs': data,
    'auto.create.topics.enable': false,
    'num.partitions': 4,
    'min.insync.replicas': 1,
    'group.initial.rebalance.delay.ms': 0,
    'offsets.topic.num.partitions': 4,
    'offsets.topic.replication.factor': 1,
    'transaction.state.log.num.partitions': 4,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
  }
}

export function propertiesFile(properties: Record<string, string | number | boolean>): string {
  const escaped = (value: unknown) => String(value).replaceAll('\\', '\\\\')
  return Object.entries(properties)
    .map(([key, value]) => `${key}=${escaped(value)}\n`)
    .join('')
}

export const LOGGING = `# Logs to standard output, which goes to the log file of the cluster.
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1} %m%n
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
logger.config.name=org.apache.kafka.common.config.AbstractConfig
logger.config.level=warn
`
