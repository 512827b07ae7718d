import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { run } from '../../src/dev/cluster/command'
import { brokerProperties, LOGGING, newClusterId, propertiesFile } from '../../src/dev/cluster/kafka'
import { findKafkaProgram } from '../../src/dev/cluster/kafka-program'
import { PortReservations } from '../../src/dev/cluster/ports'
import { AttendedServer, surroundings } from './attended-server'
import type { Authority } from './certificates'

const PLAIN_LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule'
const SCRAM_LOGIN = 'org.apache.kafka.common.security.scram.ScramLoginModule'

/**
 * An Apache Kafka that asks for a login by TLS at one port, for a client certificate at another, and for nothing at a
 * third.
 */
export class SecureKafka {
  private constructor(
    private readonly server: AttendedServer,
    readonly urls: { login: string; certificate: string; plain: string },
  ) {}

  /** @param user whom it knows, by PLAIN and by SCRAM */
  static async start(authority: Authority, user: { name: string; password: string }): Promise<SecureKafka> {
    const folder = mkdtempSync(join(tmpdir(), 'web-traffic-kafka-'))
    const reservations = new PortReservations()
    const port = () => reservations.choose({ purpose: 'Kafka' }, () => undefined)
    const ports = {
      main: await port(),
      controller: await port(),
      login: await port(),
      certificate: await port(),
    }
    const urls = {
      login: `127.0.0.1:${ports.login}`,
      certificate: `127.0.0.1:${ports.certificate}`,
      plain: `127.0.0.1:${ports.main}`,
    }
    const program = await findKafkaProgram(surroundings(folder))
    const properties = {
      ...brokerProperties(join(folder, 'data'), ports),
      ...(await security(authority, user, ports.controller, urls)),
    }
    const [configuration, logging] = [join(folder, 'server.properties'), join(folder, 'log4j2.properties')]
    writeFileSync(configuration, propertiesFile(properties))
    writeFileSync(logging, LOGGING)
    mkdirSync(join(folder, 'data'))
    const format = program.format(configuration, newClusterId())
    const users = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap(mechanism => [
      '--add-scram',
      `${mechanism}=[name=${user.name},password=${user.password}]`,
    ])
    const { ok, output } = await run({ ...format, args: [...format.args, ...users] }, 60_000)
    if (!ok) throw new Error(`Kafka could not format its storage: ${output}`)
    const command = program.server(configuration, logging)
    const environment = { ...command.environment, LOG_DIR: join(folder, 'logs') }
    const server = new AttendedServer('Kafka', { ...command, cwd: folder, environment }, folder, 'SIGTERM')
    await server.untilReady(() => ask(urls.plain))
    reservations.release()
    return new SecureKafka(server, urls)
  }

  end(): Promise<void> {
    return this.server.end()
  }
}

async function security(
  authority: Authority,
  user: { name: string; password: string },
  controller: number,
  { login, certificate, plain }: SecureKafka['urls'],
): Promise<Record<string, string>> {
  const { both } = await authority.issue('kafka')
  const listeners = `PLAINTEXT://${plain},LOGIN://${login},CERTIFICATE://${certificate}`
  return {
    listeners: `${listeners},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': listeners,
    'listener.security.protocol.map':
      'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,CERTIFICATE:SSL',
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': both,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': authority.file,
    'listener.name.certificate.ssl.client.auth': 'required',
    'listener.name.login.sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    'listener.name.login.plain.sasl.jaas.config': `${PLAIN_LOGIN} required user_${user.name}="${user.password}";`,
    'listener.name.login.scram-sha-256.sasl.jaas.config': `${SCRAM_LOGIN} required;`,
    'listener.name.login.scram-sha-512.sasl.jaas.config': `${SCRAM_LOGIN} required;`,
  }
}

async function ask(broker: string): Promise<void> {
  const options = {
    brokers: [broker],
    logLevel: logLevel.NOTHING,
    connectionTimeout: 2_000,
    retry: { retries: 0 },
  }
  const admin = new Kafka(options).admin()
  try {
    await admin.connect()
    await admin.listTopics()
  } finally {
    await admin.disconnect()
  }
}
