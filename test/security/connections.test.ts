import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { UserError } from '../../src/errors'
import { loadConfig } from '../../src/config'
import { withAdmin } from '../../src/kafka/client'
import { sql } from 'kysely'
import { withDatabase } from '../../src/pipeline/database'
import { withTemporal } from '../../src/temporal/connection'
import { pollerId } from '../../src/contract/ids'
import { Dashboard } from '../../src/dashboard/server'
import { openCountryDatabase } from '../../src/geo/country'
import { countLog } from '../../trials/oracle/reference'
import { expectCounts } from '../support/counts'
import { LookUpService } from '../support/lookup-service'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import { Authority } from '../support/certificates'
import { SecureKafka } from '../support/secure-kafka'
import { SecurePostgres } from '../support/secure-postgres'
import { SecureTemporal } from '../support/secure-temporal'

const ROLES = readFileSync(join(__dirname, '..', '..', 'ddl', 'roles.sql'), 'utf8')
const API_KEY = 'key-to-the-cloud'
const USER = { name: 'counter', password: 'let-me-in' }

let folder: string
let authority: Authority
let stranger: Authority
let kafka: SecureKafka
let client: { cert: string; key: string }
let forged: { cert: string; key: string }
let postgres: SecurePostgres
let byCertificateOnly: SecureTemporal
let byKeyOnly: SecureTemporal

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'web-traffic-certificates-'))
  authority = await Authority.create(folder, 'authority')
  stranger = await Authority.create(folder, 'stranger')
  client = await authority.issue('client')
  forged = await stranger.issue('client')
  ;[kafka, postgres, byCertificateOnly, byKeyOnly] = await Promise.all([
    SecureKafka.start(authority, USER),
    SecurePostgres.start(authority, USER.password),
    SecureTemporal.start(process.env.TEMPORAL_ADDRESS!, authority, { clientCertificate: true }),
    SecureTemporal.start(process.env.TEMPORAL_ADDRESS!, authority, { apiKey: API_KEY }),
  ])
})

afterAll(async () => {
  await Promise.all([kafka, postgres, byCertificateOnly, byKeyOnly].map(server => server?.end()))
  rmSync(folder, { recursive: true })
})

type Variables = Record<string, string>

/** The message of the UserError, which must be one line without secrets; undefined if the call succeeds. */
async function failureOf(ask: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await ask()
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(UserError)
    const { message } = error as Error
    expect(message).not.toContain('\n')
    for (const secret of [USER.password, API_KEY, 'guessed']) expect(message).not.toContain(secret)
    return message
  }
}

describe('Kafka', () => {
  const failure = (variables: Variables) =>
    failureOf(() => withAdmin(loadConfig(variables).kafka, admin => admin.listTopics()))
  const trusted = () => ({ KAFKA_TLS: 'true', KAFKA_TLS_CA: authority.file })
  const login = (mechanism: string) => ({
    KAFKA_SASL_MECHANISM: mechanism,
    KAFKA_SASL_USERNAME: USER.name,
    KAFKA_SASL_PASSWORD: USER.password,
  })
  const certified = () => ({ KAFKA_TLS_CERT: client.cert, KAFKA_TLS_KEY: client.key })
  const byLogin = () => ({ KAFKA_URL: kafka.urls.login, ...trusted(), ...login('scram-sha-512') })
  const byCertificate = () => ({ KAFKA_URL: kafka.urls.certificate, ...trusted(), ...certified() })

  const well: [name: string, variables: () => Variables][] = [
    ['a login with PLAIN', () => ({ ...byLogin(), ...login('plain') })],
    ['a login with SCRAM-SHA-256', () => ({ ...byLogin(), ...login('SCRAM-SHA-256') })],
    ['a login with SCRAM-SHA-512', byLogin],
    ['a client certificate', byCertificate],
  ]
  test.each(well)('accepts %s', async (_, variables) => {
    expect(await failure(variables())).toBeUndefined()
  })

  const at = (url: string) => url.replace('127.0.0.1', 'localhost')
  const wrong: [name: string, variables: () => Variables, wanted: RegExp][] = [
    [
      'a wrong password (PLAIN)',
      () => ({ ...byLogin(), ...login('plain'), KAFKA_SASL_PASSWORD: 'guessed' }),
      /rejects user "counter": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
    ],
    [
      'a wrong password (SCRAM)',
      () => ({ ...byLogin(), KAFKA_SASL_PASSWORD: 'guessed' }),
      /rejects user "counter": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
    ],
    [
      'an unknown user',
      () => ({ ...byLogin(), KAFKA_SASL_USERNAME: 'nobody' }),
      /rejects user "nobody": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
    ],
    [
      'a missing login',
      () => ({ KAFKA_URL: kafka.urls.login, ...trusted() }),
      /set KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
    ],
    [
      'a login on a port without logins',
      () => ({ KAFKA_URL: kafka.urls.plain, ...login('plain') }),
      /does not accept logins on this port: unset KAFKA_SASL_MECHANISM/,
    ],
    [
      'a certificate from an unknown authority',
      () => ({ ...byLogin(), KAFKA_TLS_CA: '' }),
      /that cannot be verified \(unable to .*\): set KAFKA_TLS_CA/,
    ],
    [
      'a certificate from another authority than the trusted one',
      () => ({ ...byLogin(), KAFKA_TLS_CA: stranger.file }),
      /that cannot be verified \(.*\): set KAFKA_TLS_CA/,
    ],
    [
      'a certificate for another name',
      () => ({ ...byLogin(), KAFKA_URL: at(kafka.urls.login) }),
      /for another name \(does not match certificate's altnames: Host: localhost\): use the name .* in KAFKA_URL/,
    ],
    [
      'a missing client certificate',
      () => ({ KAFKA_URL: kafka.urls.certificate, ...trusted() }),
      /rejects this client's certificate \(.*\): set KAFKA_TLS_CERT and KAFKA_TLS_KEY\.$/,
    ],
    [
      'TLS on a port without TLS',
      () => ({ KAFKA_URL: kafka.urls.plain, ...trusted() }),
      /does not use TLS \(.*\): unset KAFKA_TLS, or set KAFKA_URL to its TLS port\.$/,
    ],
    [
      'no TLS on a port that requires it',
      () => ({ KAFKA_URL: kafka.urls.certificate }),
      /requires TLS: set KAFKA_TLS=true/,
    ],
    [
      'no TLS on a port that also requires a login',
      () => ({ KAFKA_URL: kafka.urls.login, ...login('plain') }),
      /requires TLS: set KAFKA_TLS=true/,
    ],
    [
      'an unreachable broker',
      () => ({ KAFKA_URL: '127.0.0.1:1', ...trusted() }),
      /^No Kafka broker answers at 127\.0\.0\.1:1/,
    ],
  ]
  test.each(wrong)('explains %s', async (_, variables, wanted) => {
    expect(await failure(variables())).toMatch(wanted)
  })
})

describe('Postgres', () => {
  const at = (parameters: string, host = '127.0.0.1') =>
    `postgresql://${host}:${postgres.port}/postgres${parameters}`
  const login = { POSTGRES_USER: 'postgres', POSTGRES_PASSWORD: USER.password }
  const certified = () => `&sslcert=${client.cert}&sslkey=${client.key}`
  const trusted = () => `&sslrootcert=${authority.file}`

  const failure = (variables: Variables) =>
    failureOf(() => withDatabase(loadConfig({ ...login, ...variables }), db => sql`select 1`.execute(db)))

  const well: [name: string, variables: () => Variables][] = [
    ['require', () => ({ POSTGRES_URL: at('?sslmode=require') })],
    ['require from the environment', () => ({ POSTGRES_URL: at(''), PGSSLMODE: 'require' })],
    ['verify-ca', () => ({ POSTGRES_URL: at(`?sslmode=verify-ca${trusted()}`) })],
    [
      'verify-ca with another name',
      () => ({ POSTGRES_URL: at(`?sslmode=verify-ca${trusted()}`, 'localhost') }),
    ],
    ['verify-full', () => ({ POSTGRES_URL: at(`?sslmode=verify-full${trusted()}`) })],
    [
      'a client certificate',
      () => ({
        POSTGRES_URL: at(`?sslmode=verify-full${trusted()}${certified()}`),
        POSTGRES_USER: 'certified',
      }),
    ],
  ]
  test.each(well)('accepts %s', async (_, variables) => {
    expect(await failure(variables())).toBeUndefined()
  })

  const wrong: [name: string, variables: () => Variables, wanted: RegExp][] = [
    ['no TLS', () => ({ POSTGRES_URL: at('') }), /requires TLS: add sslmode=require or stricter/],
    [
      'a wrong password',
      () => ({ POSTGRES_URL: at('?sslmode=require'), POSTGRES_PASSWORD: 'guessed' }),
      /refuses user "postgres": check POSTGRES_USER and POSTGRES_PASSWORD\.$/,
    ],
    [
      'a certificate from an unknown authority',
      () => ({ POSTGRES_URL: at('?sslmode=verify-full') }),
      /that cannot be verified \(.*\): set sslrootcert/,
    ],
    [
      'a certificate from another authority than sslrootcert',
      () => ({ POSTGRES_URL: at(`?sslmode=require&sslrootcert=${stranger.file}`) }),
      /that cannot be verified \(.*\): set sslrootcert/,
    ],
    [
      'a certificate for another name',
      () => ({ POSTGRES_URL: at(`?sslmode=verify-full${trusted()}`, 'localhost') }),
      /for another name \(does not match certificate's altnames: Host: localhost\): .*sslmode=verify-ca/,
    ],
    [
      'a missing client certificate',
      () => ({ POSTGRES_URL: at('?sslmode=require'), POSTGRES_USER: 'certified' }),
      /requires a client certificate: set sslcert and sslkey/,
    ],
    [
      'a client certificate from an unknown authority',
      () => ({
        POSTGRES_URL: at(`?sslmode=require&sslcert=${forged.cert}&sslkey=${forged.key}`),
        POSTGRES_USER: 'certified',
      }),
      /rejects this client's certificate \(.*\): name another one with sslcert and sslkey/,
    ],
    [
      'TLS on a server without TLS',
      () => ({
        POSTGRES_URL: `${process.env.POSTGRES_URL}?sslmode=require`,
        POSTGRES_PASSWORD: process.env.POSTGRES_PASSWORD!,
      }),
      /does not use TLS \(.*\): turn it on there \(ssl = on\), or use sslmode=disable/,
    ],
  ]
  test.each(wrong)('explains %s', async (_, variables, wanted) => {
    expect(await failure(variables())).toMatch(wanted)
  })
})

describe('Temporal', () => {
  const trusted = () => ({ TEMPORAL_TLS: 'true', TEMPORAL_TLS_SERVER_CA_CERT_PATH: authority.file })
  const certified = ({ cert, key } = client) => ({
    TEMPORAL_ADDRESS: byCertificateOnly.address,
    ...trusted(),
    TEMPORAL_TLS_CLIENT_CERT_PATH: cert,
    TEMPORAL_TLS_CLIENT_KEY_PATH: key,
  })
  const keyed = () => ({ TEMPORAL_ADDRESS: byKeyOnly.address, ...trusted(), TEMPORAL_API_KEY: API_KEY })

  /** Reads the environment before the first await, so that several calls can run concurrently. */
  function failure(variables: Variables): Promise<string | undefined> {
    const before = process.env
    process.env = { ...before, ...variables }
    const asked = failureOf(() => withTemporal(client => client.workflow.count()))
    process.env = before
    return asked
  }

  test('accepts a client certificate', async () => {
    expect(await failure(certified())).toBeUndefined()
    expect(byCertificateOnly.passed).toBeGreaterThan(0)
  })

  test('accepts an API key', async () => {
    expect(await failure(keyed())).toBeUndefined()
    expect(byKeyOnly.passed).toBeGreaterThan(0)
  })

  const wrong: [name: string, variables: () => Variables, wanted: RegExp][] = [
    [
      'no client certificate',
      () => ({ ...certified(), TEMPORAL_TLS_CLIENT_CERT_PATH: '', TEMPORAL_TLS_CLIENT_KEY_PATH: '' }),
      /rejects this client's certificate \(.*\): set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH/,
    ],
    [
      'a client certificate from an unknown authority',
      () => certified(forged),
      /rejects this client's certificate \(.*\): set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH/,
    ],
    [
      'a certificate from another authority than the trusted one',
      () => ({ ...certified(), TEMPORAL_TLS_SERVER_CA_CERT_PATH: stranger.file }),
      /that cannot be verified \(.*\): set TEMPORAL_TLS_SERVER_CA_CERT_PATH/,
    ],
    [
      'a missing file',
      () => ({ ...certified(), TEMPORAL_TLS_CLIENT_KEY_PATH: 'no-such.pem' }),
      /no-such\.pem/,
    ],
    [
      'a certificate for another name',
      () => ({
        ...certified(),
        TEMPORAL_ADDRESS: byCertificateOnly.address.replace('127.0.0.1', 'localhost'),
      }),
      /for another name \(.*\): set TEMPORAL_TLS_SERVER_NAME/,
    ],
    ['no API key', () => ({ ...keyed(), TEMPORAL_API_KEY: '' }), /set TEMPORAL_API_KEY/],
    ['a wrong API key', () => ({ ...keyed(), TEMPORAL_API_KEY: 'guessed' }), /set TEMPORAL_API_KEY/],
    [
      'TLS on a server without TLS',
      () => ({ ...trusted(), TEMPORAL_ADDRESS: process.env.TEMPORAL_ADDRESS! }),
      /does not use TLS \(.*\): set TEMPORAL_TLS=false/,
    ],
    [
      'no TLS on a server that requires it',
      () => ({ TEMPORAL_ADDRESS: byKeyOnly.address }),
      /No Temporal server answers at .*TEMPORAL_TLS=true/,
    ],
  ]
  // Concurrently, because each takes the SDK five seconds.
  const failures = new Map<string, Promise<string | undefined>>()
  beforeAll(() => {
    for (const [name, variables] of wrong) failures.set(name, failure(variables()))
  })

  test.each(wrong)('explains %s', async (name, _, wanted) => {
    expect(await failures.get(name)).toMatch(wanted)
  })
})

describe('a pipeline', () => {
  const SECRETS = {
    kafka: USER.password,
    postgres: `pg-${USER.password}`,
    temporal: API_KEY,
    lookUp: 'key-to-the-addresses',
    guessed: 'guessed-wrongly',
  }
  const WINDOW = { WINDOW_SIZE: '1s', WATERMARK_DELAY: '500ms', IDLE_TIMEOUT: '500ms' }
  const reader = () => ({ POSTGRES_USER: 'looking', POSTGRES_PASSWORD: SECRETS.postgres })
  const writer = () => ({ POSTGRES_USER: 'counting', POSTGRES_PASSWORD: SECRETS.postgres })
  const owner = () => ({ POSTGRES_USER: 'postgres', POSTGRES_PASSWORD: USER.password })
  const trusted = () => ({
    KAFKA_TLS: 'true',
    KAFKA_TLS_CA: authority.file,
    KAFKA_URL: kafka.urls.login,
    KAFKA_SASL_USERNAME: USER.name,
    KAFKA_SASL_PASSWORD: SECRETS.kafka,
    TEMPORAL_TLS: 'true',
    TEMPORAL_TLS_SERVER_CA_CERT_PATH: authority.file,
  })
  const url = (parameters: string) => `postgresql://127.0.0.1:${postgres.port}/postgres${parameters}`

  const pipelines: TestPipeline[] = []
  afterAll(async () => {
    for (const pipeline of pipelines) await pipeline.destroy()
  })

  /** Creates the schema, a login for each role, and a topic, as the owner. */
  async function prepare(settings: Variables): Promise<TestPipeline> {
    const pipeline = new TestPipeline({ ...trusted(), ...owner(), ...WINDOW, ...settings })
    pipelines.push(pipeline)
    await pipeline.command('migrate')
    await pipeline.createTopic(2)
    await pipeline.query(ROLES)
    for (const [login, role] of [
      ['counting', 'writer'],
      ['looking', 'reader'],
    ])
      await pipeline.query(`do $$ begin
        create role ${login} login password '${SECRETS.postgres}' in role web_traffic_${role};
      exception when duplicate_object then null; end $$`)
    return pipeline
  }

  const well = { code: 0 }

  async function runThrough(pipeline: TestPipeline, produced: string[]): Promise<number> {
    expect(await pipeline.attemptWith(writer(), 'start')).toMatchObject(well)
    pipeline.startWorker('all', writer())
    const { stdout } = await pipeline.attempt('produce', '--json', '--quiet', ...produced)
    const { sent } = JSON.parse(stdout) as { sent: number }
    await pipeline.untilAccounted(sent)
    return sent
  }

  test('with SCRAM, a client certificate and verify-full counts every event as writer, and the reader can query it', async () => {
    const pipeline = await prepare({
      KAFKA_SASL_MECHANISM: 'scram-sha-512',
      TEMPORAL_ADDRESS: byCertificateOnly.address,
      TEMPORAL_TLS_CLIENT_CERT_PATH: client.cert,
      TEMPORAL_TLS_CLIENT_KEY_PATH: client.key,
      POSTGRES_URL: url(`?sslmode=verify-full&sslrootcert=${authority.file}`),
    })
    const traffic = [
      '--synthetic',
      '--events',
      '2000',
      '--span',
      '20s',
      '--late',
      '0.05',
      '--malformed',
      '0.02',
    ]
    const sent = await runThrough(pipeline, traffic)
    expect(sent).toBe(2_000)
    const { windowSize, watermarkDelay } = pipeline.config.settings
    await expectCounts(
      pipeline.db,
      countLog(await pipeline.readLog(), await openCountryDatabase(), windowSize, watermarkDelay),
    )
    const rows = await pipeline.query<{ ssl: boolean }>(
      `select ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'counting'`,
    )
    expect(new Set(rows.map(({ ssl }) => ssl))).toEqual(new Set([true]))

    const asReader = [
      ['windows', '--json'],
      ['late', '--json'],
      ['rejected', '--json'],
      ['status', '--json'],
    ]
    for (const command of asReader)
      expect(await pipeline.attemptWith(reader(), ...command)).toMatchObject(well)
    for (const command of ['verify', 'replay --from 2020-01-01T00:00:00Z', 'doctor', 'retry'])
      expect({
        command,
        ...(await pipeline.attemptWith(writer(), ...command.split(' '))),
      }).toMatchObject({ command, ...well })
    const refused = await pipeline.attemptWith(reader(), 'start')
    expect(refused.stderr).toMatch(/^User "looking" lacks a privilege in .*: grant it\.$/m)
    await lookAsReader(pipeline)
    expect(await pipeline.attemptWith(writer(), 'stop')).toMatchObject(well)
  }, 120_000)

  /** Requests everything that the dashboard's page needs from Postgres. */
  async function lookAsReader({ config }: TestPipeline): Promise<void> {
    const login = { user: 'looking', password: SECRETS.postgres }
    const as = { ...config, postgres: { ...config.postgres, ...login } }
    const dashboard = new Dashboard(as, { namespace: 'default' })
    try {
      const address = await dashboard.start()
      const { windows } = (await (await fetch(`${address}api/windows`)).json()) as {
        windows: { start: number }[]
      }
      expect(windows.length).toBeGreaterThan(0)
      const start = new Date(windows[0]!.start).toISOString()
      for (const path of ['timeline', 'breakdown', `window?start=${start}`])
        expect({ path, status: (await fetch(`${address}api/${path}`)).status }).toEqual({ path, status: 200 })
    } finally {
      await dashboard.end()
    }
  }

  test('with PLAIN and an API key leaks no secret into output, Temporal or Postgres, whatever fails', async () => {
    const lookUp = new LookUpService(SECRETS.lookUp)
    const pipeline = await prepare({
      LOG_LEVEL: 'trace',
      KAFKA_SASL_MECHANISM: 'plain',
      TEMPORAL_ADDRESS: byKeyOnly.address,
      TEMPORAL_API_KEY: SECRETS.temporal,
      POSTGRES_URL: url('?sslmode=require'),
      GEO_PROVIDER: 'ip2location',
      GEO_URL: await lookUp.start(),
      IP_CODING_KEY: SECRETS.lookUp,
    })
    const { group } = pipeline.config.settings
    const printed: string[] = []
    const attempt = async (settings: Variables, ...args: string[]) => {
      const { stdout, stderr, code } = await pipeline.attemptWith({ ...writer(), ...settings }, ...args)
      printed.push(stdout, stderr)
      return { stderr, code }
    }
    try {
      expect(await attempt({}, 'start')).toMatchObject({ code: 0 })
      const poller = pollerId(group, 1)
      const stranger = pipeline.startWorker('all', { ...writer(), KAFKA_SASL_PASSWORD: SECRETS.guessed })
      await until(() => pipeline.untilRetried(poller, 'pollKafka', 1).then(Boolean, () => false))
      expect(await pipeline.untilRetried(poller, 'pollKafka')).toMatch(
        /rejects user "counter": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
      )
      expect(await pipeline.status()).toMatchObject({
        problems: [expect.stringContaining('rejects user "counter"')],
      })
      await pipeline.stopWorker(stranger)

      const wrong = { POSTGRES_PASSWORD: SECRETS.guessed, TEMPORAL_API_KEY: SECRETS.guessed }
      const all = { ...wrong, KAFKA_SASL_PASSWORD: SECRETS.guessed, IP_CODING_KEY: SECRETS.guessed }
      expect(await attempt(all, 'doctor')).toMatchObject({ code: 1 })
      const unreachable = {
        KAFKA_URL: '127.0.0.1:1',
        POSTGRES_URL: `postgresql://me:${SECRETS.postgres}@127.0.0.1:1/x`,
      }
      expect(await attempt({ ...unreachable, TEMPORAL_ADDRESS: '127.0.0.1:1' }, 'doctor')).toMatchObject({
        code: 1,
      })
      expect(await attempt(wrong, 'worker')).toMatchObject({ code: 1 })

      lookUp.mood = 'refusing'
      pipeline.startWorker('all', writer())
      const sent = await pipeline.send(
        Array.from({ length: 200 }, (_, at) => ({
          partition: at % 2,
          value: JSON.stringify({
            url: '/',
            host: 'a.example',
            ip: `8.8.8.${at % 10}`,
            event_time: new Date().toISOString(),
          }),
        })),
      )
      await until(() => lookUp.asked.length > 0)
      lookUp.mood = 'well'
      await pipeline.untilAccounted(sent)
      expect(await attempt({}, 'stop')).toMatchObject({ code: 0 })

      const kept = [...printed, pipeline.logged, ...(await historiesOf(group)), await contentsOf(pipeline)]
      expect(kept.join('').length).toBeGreaterThan(20_000)
      for (const [name, secret] of Object.entries(SECRETS))
        for (const form of [secret, Buffer.from(secret).toString('base64').replace(/=*$/, '')])
          expect({
            name,
            found: kept.filter(text => text.includes(form)).map(text => text.slice(0, 200)),
          }).toEqual({
            name,
            found: [],
          })
    } finally {
      await lookUp.stop()
    }
  }, 120_000)
})

/** Everything that Temporal stores about each workflow of a pipeline. */
async function historiesOf(group: string): Promise<string[]> {
  return withTemporal(async client => {
    const histories: string[] = []
    for await (const { workflowId, runId } of client.workflow.list({
      query: `WorkflowId starts_with '${group}/'`,
    })) {
      const handle = client.workflow.getHandle(workflowId, runId)
      const [history, { raw }] = await Promise.all([handle.fetchHistory(), handle.describe()])
      histories.push([...texts(history), ...texts(raw)].join('\n'))
    }
    expect(histories.length).toBeGreaterThan(2)
    // Proves that the search sees payloads: the settings are in those of every workflow.
    for (const history of histories) expect(history).toContain('"windowSize":1000')
    return histories
  })
}

/** Every string, and all bytes decoded as UTF-8, so that no encoding hides a secret. */
function* texts(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value
  else if (value instanceof Uint8Array) yield Buffer.from(value).toString('utf8')
  else if (typeof value === 'object' && value !== null)
    for (const inner of Object.values(value)) yield* texts(inner)
}

async function contentsOf(pipeline: TestPipeline): Promise<string> {
  const [dump] = await pipeline.query<{ dump: string }>(
    `select database_to_xml(true, false, '')::text as dump`,
  )
  expect(dump!.dump).toContain('a.example')
  return dump!.dump
}
