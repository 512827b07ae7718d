import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Client, Connection } from '@temporalio/client'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { ingestId, pollerId } from '../../src/contract/ids'
import { withAdmin } from '../../src/kafka/client'
import { TestDatabase } from '../postgres/support'
import { program } from '../../src/dev/program'

/** No command may take longer, milliseconds. */
const TIMEOUT = 20_000
const MAX_CONCURRENT = 4

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

type Variables = Record<string, string>

const unique = randomUUID().slice(0, 8)
const TOPIC = `cli-errors-${unique}`
const CLOSED = '127.0.0.1:1'

let folder: string
let empty: TestDatabase
let migrated: TestDatabase
let owned: TestDatabase
let running: TestDatabase

/** The addresses of the tests' servers, and nothing else from this process's environment. */
function environment(variables: Variables): Variables {
  const named = ['PATH', 'KAFKA_URL', 'TEMPORAL_ADDRESS', 'TEMPORAL_NAMESPACE', 'POSTGRES_URL']
  const login = ['POSTGRES_USER', 'POSTGRES_PASSWORD']
  const inherited = [...named, ...login].flatMap(name => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  const own = {
    HOME: folder,
    KAFKA_TOPIC: TOPIC,
    KAFKA_GROUP: `none-${unique}`,
    POSTGRES_DB: databaseOf('migrated'),
  }
  return { ...Object.fromEntries(inherited), ...own, ...variables }
}

const databaseOf = (which: 'empty' | 'migrated' | 'owned' | 'running') =>
  ({ empty, migrated, owned, running })[which].postgres.database

let free = MAX_CONCURRENT
const queue: (() => void)[] = []

/** Runs the command in a folder without stream.env and without a cluster; limits how many run at once. */
async function run(args: string[], variables: Variables = {}): Promise<Ended> {
  if (free > 0) free--
  else await new Promise<void>(resolve => queue.push(resolve))
  try {
    return await runNow(args, variables)
  } finally {
    const next = queue.shift()
    if (next) next()
    else free++
  }
}

async function runNow(args: string[], variables: Variables): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: environment(variables),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT,
    killSignal: 'SIGKILL',
  })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

/** The command failed with one line on standard error, which contains all of `wanted`. */
function expectOneLine({ code, stdout, stderr }: Ended, wanted: string[]): void {
  expect(stderr.trimEnd().split('\n')).toHaveLength(1)
  for (const text of wanted) expect(stderr).toContain(text)
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'web-traffic-cli-'))
  await withAdmin({ brokers: [process.env.KAFKA_URL!] }, admin =>
    admin.createTopics({ topics: [{ topic: TOPIC, numPartitions: 2 }] }),
  )
  empty = await TestDatabase.empty()
  ;[migrated, owned, running] = await Promise.all([
    TestDatabase.migrated(),
    TestDatabase.migrated(),
    TestDatabase.migrated(),
  ])
})

afterAll(async () => {
  await terminate(`left-${unique}`, `kept-${unique}`)
  for (const database of [empty, migrated, owned, running]) await database.drop()
  await withAdmin({ brokers: [process.env.KAFKA_URL!] }, admin => admin.deleteTopics({ topics: [TOPIC] }))
  rmSync(folder, { recursive: true, force: true })
})

async function terminate(...groups: string[]): Promise<void> {
  const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS! })
  try {
    const { workflow } = new Client({ connection, namespace: process.env.TEMPORAL_NAMESPACE ?? 'default' })
    // The ledger comes first, because it would restart its poller.
    for (const group of groups)
      for (const id of [ingestId(group), pollerId(group, 1)])
        await workflow
          .getHandle(id)
          .terminate('end of the test')
          .catch(() => undefined)
  } finally {
    await connection.close()
  }
}

/** Starts all commands of a table in advance, so that their timeouts overlap. */
function inAdvance<Case extends [name: string, args: string, variables: () => Variables, ...rest: unknown[]]>(
  cases: Case[],
): Map<string, Promise<Ended>> {
  const runs = new Map<string, Promise<Ended>>()
  beforeAll(() => {
    for (const [name, args, variables] of cases) runs.set(name, run(args.split(' '), variables()))
  })
  return runs
}

describe('a command fails with one line that says what is wrong and what to do', () => {
  const KAFKA = ['No Kafka broker answers at 127.0.0.1:1', 'web-traffic cluster up', 'KAFKA_URL']
  const TEMPORAL = ['No Temporal server answers at 127.0.0.1:1', 'web-traffic cluster up', 'TEMPORAL_ADDRESS']
  const POSTGRES = ['Postgres at 127.0.0.1:1 is unreachable', 'web-traffic cluster up', 'POSTGRES_URL']
  const REFUSED = ['refuses user', 'POSTGRES_USER and POSTGRES_PASSWORD']
  const NOT_MIGRATED = ['missing, outdated or changed', 'web-traffic migrate']
  const NO_DATABASE = [`has no database "no-such-${unique}"`, 'web-traffic migrate']

  const noKafka = () => ({ KAFKA_URL: CLOSED })
  const noTemporal = () => ({ TEMPORAL_ADDRESS: CLOSED })
  const noPostgres = () => ({ POSTGRES_URL: `postgresql://${CLOSED}/` })
  const wrongPassword = () => ({ POSTGRES_PASSWORD: 'hunter2' })
  const notMigrated = () => ({ POSTGRES_DB: databaseOf('empty') })
  const noDatabase = () => ({ POSTGRES_DB: `no-such-${unique}` })

  const cases: [name: string, args: string, variables: () => Variables, wanted: string[]][] = [
    ['start without Kafka', 'start', noKafka, KAFKA],
    ['start without Temporal', 'start', noTemporal, TEMPORAL],
    ['stop without Temporal', 'stop', noTemporal, TEMPORAL],
    ['status without Temporal', 'status', noTemporal, TEMPORAL],
    ['windows without Temporal', 'windows', noTemporal, TEMPORAL],
    ['start without Postgres', 'start', noPostgres, POSTGRES],
    ['windows without Postgres', 'windows', noPostgres, POSTGRES],
    ['migrate without Postgres', 'migrate', noPostgres, POSTGRES],
    ['start with a wrong password', 'start', wrongPassword, REFUSED],
    ['windows with a wrong password', 'windows', wrongPassword, REFUSED],
    ['migrate with a wrong password', 'migrate', wrongPassword, REFUSED],
    ['start on a database that does not exist', 'start', noDatabase, NO_DATABASE],
    ['windows of a database that does not exist', 'windows', noDatabase, NO_DATABASE],
    ['start on a schema that is not migrated', 'start', notMigrated, NOT_MIGRATED],
    ['windows of a schema that is not migrated', 'windows', notMigrated, NOT_MIGRATED],
    [
      'start on a topic that does not exist',
      'start',
      () => ({ KAFKA_TOPIC: 'no-such-topic' }),
      ['The topic "no-such-topic" does not exist', 'web-traffic produce', 'KAFKA_TOPIC'],
    ],
    ['status before a start', 'status', () => ({}), [`no pipeline "none-${unique}"`, 'web-traffic start']],
    ['stop before a start', 'stop', () => ({}), [`no pipeline "none-${unique}"`]],
    [
      'start with an invalid position',
      'start --from nonsense',
      () => ({}),
      ['--from: "nonsense"', 'earliest, latest'],
    ],
    ...['worker', 'start', 'migrate'].map((command): [string, string, () => Variables, string[]] => [
      `${command} with invalid settings`,
      command,
      () => ({ WINDOW_SIZE: '5 minutes', POLLERS: '0' }),
      ['WINDOW_SIZE: "5 minutes"', '10s', 'POLLERS: "0"', '1 to 9999'],
    ]),
    ['a worker without Temporal', 'worker', noTemporal, TEMPORAL],
    [
      'a worker without its country database',
      'worker',
      () => ({ GEO_DATABASE: '/no/such.mmdb' }),
      ['GEO_DATABASE: /no/such.mmdb'],
    ],
  ]
  const runs = inAdvance(cases)

  test.each(cases)('%s', async (name, _args, _variables, wanted) => {
    const ended = await runs.get(name)!
    expectOneLine(ended, wanted)
    expect(ended.stderr).not.toContain('hunter2')
  })
})

describe('without the Temporal namespace', () => {
  const cases = ['start', 'status', 'worker'].map((command): [string, string, () => Variables] => [
    command,
    command,
    () => ({ TEMPORAL_NAMESPACE: 'nowhere' }),
  ])
  const runs = inAdvance(cases)

  test.each(cases)('%s fails with one line', async name => {
    expectOneLine(await runs.get(name)!, ['nowhere', 'TEMPORAL_NAMESPACE'])
  })
})

test('produce ignores an empty KAFKA_URL, as the other commands do', async () => {
  const { stderr } = await run(['produce', '--synthetic', '--events', '1'], { KAFKA_URL: '' })
  expect(stderr).not.toContain('"" is not a broker address')
})

describe('a pipeline with a worker', () => {
  const group = `kept-${unique}`
  const own = () => ({ KAFKA_GROUP: group, POSTGRES_DB: databaseOf('running') })
  let worker: ChildProcess

  beforeAll(async () => {
    worker = spawn(process.execPath, [program, 'worker'], {
      cwd: folder,
      env: environment(own()),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const ready = new Promise<void>((resolve, reject) => {
      for (const stream of [worker.stdout!, worker.stderr!])
        createInterface(stream).on('line', line => line.includes('the worker is ready') && resolve())
      worker.once('exit', () => reject(new Error('The worker did not start.')))
    })
    await ready
    // From the latest record on, the pipeline has no windows, whatever is in the topic.
    expect(await run(['start', '--from', 'latest'], own())).toMatchObject({ code: 0, stderr: '' })
  }, 60_000)

  afterAll(async () => {
    await terminate(group)
    const exited = once(worker, 'exit')
    worker.kill('SIGTERM')
    const kill = setTimeout(() => worker.kill('SIGKILL'), 15_000)
    await exited
    clearTimeout(kill)
  }, 60_000)

  test('rejects changed settings, and names each', async () => {
    const other = await run(['start'], { ...own(), WINDOW_SIZE: '1h', REFERRER: 'origin' })
    const wanted = ['windowSize is 5m, not 1h', 'referrer is full, not origin', 'KAFKA_GROUP', 'POSTGRES_DB']
    expectOneLine(other, wanted)
  })

  test('has a status that names Kafka if it is unreachable', async () => {
    const wanted = ['No Kafka broker answers at 127.0.0.1:1', 'KAFKA_URL']
    expectOneLine(await run(['status'], { ...own(), KAFKA_URL: CLOSED }), wanted)
  })

  test('has maintenance that fails with the reason of its workflow', async () => {
    const { db } = running
    await sql`alter table staged_deltas rename to elsewhere`.execute(db)
    const failed = await run(['maintain'], own())
    await sql`alter table elsewhere rename to staged_deltas`.execute(db)
    expectOneLine(failed, [
      'Workflow execution failed: The schema in',
      'web-traffic migrate',
      'repeat the command',
    ])
  })

  test('has windows that name Postgres if it is unreachable', async () => {
    const wanted = ['Postgres at 127.0.0.1:1 is unreachable', 'POSTGRES_URL']
    expectOneLine(await run(['windows'], { ...own(), POSTGRES_URL: `postgresql://${CLOSED}/` }), wanted)
  })
})

describe('a started pipeline without a worker', () => {
  const group = `left-${unique}`
  const own = () => ({ KAFKA_GROUP: group, POSTGRES_DB: databaseOf('owned') })

  beforeAll(async () => {
    const started = await run(['start', '--from', 'latest'], own())
    expect(started).toMatchObject({ code: 0, stderr: '' })
    expect(started.stdout).toMatch(/^Started .*\n$/)
  })

  test('owns its schema: another pipeline is rejected', async () => {
    const refused = await run(['start'], { ...own(), KAFKA_GROUP: `other-${unique}` })
    expectOneLine(refused, [`belongs to the pipeline "${group}"`, `"other-${unique}"`, 'POSTGRES_DB'])
  })

  const cases = ['start', 'stop', 'status', 'windows'].map((command): [string, string, () => Variables] => [
    command,
    command,
    own,
  ])
  const runs = inAdvance(cases)

  test.each(cases)('%s says that no worker answers', async name => {
    expectOneLine(await runs.get(name)!, ['web-traffic worker'])
  })
})
