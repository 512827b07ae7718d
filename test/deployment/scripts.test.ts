import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { Connection, Client } from '@temporalio/client'
import { Kafka, logLevel } from 'kafkajs'
import { program } from '../../src/dev/program'
import { findTemporalProgram } from '../../src/dev/cluster/temporal-program'
import type { Finding } from '../../src/pipeline/doctor/finding'
import { missingSearchAttributes } from '../../src/temporal/search-attributes'
import { ROOT } from './compose-file'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'web-traffic-scripts-'))
const bin = join(folder, 'bin')
const PATH = `${bin}:${process.env.PATH}`

beforeAll(() => mkdirSync(bin))
afterAll(() => rmSync(folder, { recursive: true }))

const script = (path: string, environment: Record<string, string>, ...args: string[]) =>
  run('sh', [join(ROOT, path), ...args], { env: { PATH, ...environment }, timeout: 60_000 })

function stub(name: string, lines: string[]): void {
  writeFileSync(join(bin, name), ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 })
}

describe('temporal-config/create-namespace.sh, on a real server', () => {
  const namespace = `scripts-${randomUUID().slice(0, 8)}`
  let connection: Connection

  beforeAll(async () => {
    const { file } = await findTemporalProgram({
      dir: folder,
      environment: process.env,
      cache: join(ROOT, 'node_modules', '.cache', 'web-traffic'),
      report: () => undefined,
      signal: new AbortController().signal,
    })
    symlinkSync(file, join(bin, 'temporal'))
    connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS! })
  })
  afterAll(() => connection.close())

  it('makes a namespace that workflows can be started in, and can be repeated', async () => {
    const environment = { TEMPORAL_ADDRESS: process.env.TEMPORAL_ADDRESS!, TEMPORAL_NAMESPACE: namespace }
    for (const made of [6, 0]) {
      const { stdout, stderr } = await script('temporal-config/create-namespace.sh', environment)
      const said = `${stdout}${stderr}`
      expect(said.match(/Search attributes have been added/g) ?? []).toHaveLength(made)
      expect(said).toContain(`namespace ${namespace} is ready`)
      expect(await missingSearchAttributes(new Client({ connection, namespace }))).toEqual([])
    }
    const { config } = await connection.workflowService.describeNamespace({ namespace })
    expect(Number(config!.workflowExecutionRetentionTtl!.seconds)).toBe(7 * 86_400)
  })
})

describe('temporal-config/create-schema.sh', () => {
  it('brings both databases of the server up to date, and stops where one fails', async () => {
    const log = join(folder, 'sql.log')
    const tool = [`echo "$SQL_PLUGIN $*" >>${log}`]
    stub('temporal-sql-tool', tool)
    await script('temporal-config/create-schema.sh', {})
    const database = (name: string, schema: string) => [
      `postgres12 --database ${name} create-database`,
      `postgres12 --database ${name} setup-schema --version 0.0`,
      `postgres12 --database ${name} update-schema --schema-name postgresql/v12/${schema}`,
    ]
    const calls = [...database('temporal', 'temporal'), ...database('temporal_visibility', 'visibility')]
    expect(readFileSync(log, 'utf8').trim().split('\n')).toEqual(calls)
    rmSync(log)
    stub('temporal-sql-tool', [...tool, 'case $* in *setup*) exit 3 ;; esac'])
    await expect(script('temporal-config/create-schema.sh', {})).rejects.toMatchObject({ code: 3 })
    expect(readFileSync(log, 'utf8').trim().split('\n')).toEqual(calls.slice(0, 2))
  })
})

describe('docker/kafka/create-topic.sh', () => {
  it('asks for a topic that the doctor finds well, on a real broker', async () => {
    const topic = `scripts-${randomUUID()}`
    const log = join(folder, 'topics.log')
    stub('kafka-topics.sh', [`for word; do echo "$word" >>${log}; done`])
    const environment = { KAFKA_URL: process.env.KAFKA_URL!, KAFKA_TOPIC: topic }
    await script('docker/kafka/create-topic.sh', environment)
    const words = readFileSync(log, 'utf8').trim().split('\n')
    const valuesOf = (name: string) => words.filter((_, at) => words[at - 1] === name)
    expect(words).toEqual(expect.arrayContaining(['--create', '--if-not-exists']))
    expect(valuesOf('--bootstrap-server')).toEqual([environment.KAFKA_URL])
    expect(valuesOf('--topic')).toEqual([topic])

    const kafka = new Kafka({ brokers: environment.KAFKA_URL.split(','), logLevel: logLevel.NOTHING })
    const admin = kafka.admin()
    await admin.connect()
    try {
      const configEntries = valuesOf('--config').map(entry => {
        const [name, value] = entry.split('=') as [string, string]
        return { name, value }
      })
      const [numPartitions, replicationFactor] = ['--partitions', '--replication-factor'].map(name =>
        Number(valuesOf(name)[0]),
      ) as [number, number]
      await admin.createTopics({
        topics: [{ topic, numPartitions, replicationFactor, configEntries }],
        waitForLeaders: true,
      })
      const findings = await doctor({ KAFKA_TOPIC: topic, POLLERS: '4' })
      expect(findings.filter(({ part }) => part === 'Kafka').map(({ state, says }) => [state, says])).toEqual(
        [
          ['ok', expect.stringContaining('Kafka answers')],
          ['ok', `"${topic}" has 4 partitions.`],
          ['ok', 'Kafka keeps records for 7d.'],
          ['ok', `"${topic}" is not compacted.`],
          ['ok', expect.stringContaining("Records have the broker's timestamp")],
          ['ok', expect.stringContaining('compression.type=producer')],
        ],
      )
    } finally {
      await admin.deleteTopics({ topics: [topic] })
      await admin.disconnect()
    }
  })

  async function doctor(settings: Record<string, string>): Promise<Finding[]> {
    const env = { ...process.env, ...settings }
    const { stdout } = await run(process.execPath, [program, 'doctor', '--json'], { env }).catch(
      // Of this pipeline there is nothing yet but the topic.
      (error: unknown) => error as { stdout: string },
    )
    return JSON.parse(stdout) as Finding[]
  }
})

describe('docker/pgadmin/start.sh', () => {
  const data = join(folder, 'pgadmin')
  const database = { POSTGRES_USER: 'a:"b', POSTGRES_PASSWORD: 'p\\w:d"$x', POSTGRES_DB: 'shop "1"' }
  const start = (more: Record<string, string> = {}) =>
    script(
      'docker/pgadmin/start.sh',
      { PGADMIN_DATA: data, PGADMIN_DEFAULT_EMAIL: 'admin@example.com', ...database, ...more },
      'env',
    )

  it('registers the database, with a password that only its user can read', async () => {
    const { stdout } = await start()
    const servers = JSON.parse(readFileSync(join(data, 'servers.json'), 'utf8')) as object
    expect(servers).toMatchObject({
      Servers: {
        1: {
          Host: 'postgres',
          Port: 5432,
          Username: database.POSTGRES_USER,
          MaintenanceDB: database.POSTGRES_DB,
          ConnectionParameters: { passfile: '/pgpass' },
        },
      },
    })
    expect(JSON.stringify(servers)).not.toContain('p\\\\w')
    const passfile = join(data, 'storage', 'admin_example.com', 'pgpass')
    expect(statSync(passfile).mode & 0o777).toBe(0o600)
    // The reader of such files that the Postgres client uses.
    const env = { ...process.env, PGPASSFILE: passfile, ...database }
    const reader = `require('pgpass')({ host: 'postgres', port: 5432, database: 'any', user: process.env.POSTGRES_USER }, password => process.stdout.write(String(password)))`
    const { stdout: password } = await run(process.execPath, ['-e', reader], { env, cwd: ROOT })
    expect(password).toBe(database.POSTGRES_PASSWORD)
    expect(stdout).toContain(`PGADMIN_SERVER_JSON_FILE=${join(data, 'servers.json')}`)
    expect(stdout).toContain(`PGADMIN_DEFAULT_PASSWORD=${database.POSTGRES_PASSWORD}\n`)
  })

  it('can be given a login of its own', async () => {
    const { stdout } = await start({ PGADMIN_DEFAULT_PASSWORD: 'another' })
    expect(stdout).toContain('PGADMIN_DEFAULT_PASSWORD=another\n')
  })
})
