import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { UserError } from '../../src/cli/errors'
import { loadConfig } from '../../src/config'
import { withAdmin } from '../../src/kafka/client'
import { sql } from 'kysely'
import { withDatabase } from '../../src/cli/database'
import { withTemporal } from '../../src/temporal'
import { Authority } from '../support/certificates'
import { SecureKafka } from '../support/secure-kafka'
import { SecurePostgres } from '../support/secure-postgres'
import { SecureTemporal } from '../support/secure-temporal'

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

/** What a command fails with that asks a server; undefined where it is answered. */
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
    ['a login by PLAIN', () => ({ ...byLogin(), ...login('plain') })],
    ['a login by SCRAM-SHA-256', () => ({ ...byLogin(), ...login('SCRAM-SHA-256') })],
    ['a login by SCRAM-SHA-512', byLogin],
    ['a client certificate', byCertificate],
  ]
  test.each(well)('answers to %s', async (_, variables) => {
    expect(await failure(variables())).toBeUndefined()
  })

  const at = (url: string) => url.replace('127.0.0.1', 'localhost')
  const wrong: [name: string, variables: () => Variables, wanted: RegExp][] = [
    [
      'a wrong password (PLAIN)',
      () => ({ ...byLogin(), ...login('plain'), KAFKA_SASL_PASSWORD: 'guessed' }),
      /refuses user "counter": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
    ],
    [
      'a wrong password (SCRAM)',
      () => ({ ...byLogin(), KAFKA_SASL_PASSWORD: 'guessed' }),
      /refuses user "counter": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
    ],
    [
      'a user that it does not know',
      () => ({ ...byLogin(), KAFKA_SASL_USERNAME: 'nobody' }),
      /refuses user "nobody": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
    ],
    [
      'no login where it wants one',
      () => ({ KAFKA_URL: kafka.urls.login, ...trusted() }),
      /set KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD\.$/,
    ],
    [
      'a login where it wants none',
      () => ({ KAFKA_URL: kafka.urls.plain, ...login('plain') }),
      /takes no login there: unset KAFKA_SASL_MECHANISM/,
    ],
    [
      'a certificate that nobody known has signed',
      () => ({ ...byLogin(), KAFKA_TLS_CA: '' }),
      /that nobody vouches for \(unable to .*\): set KAFKA_TLS_CA/,
    ],
    [
      'a certificate that another authority has signed',
      () => ({ ...byLogin(), KAFKA_TLS_CA: stranger.file }),
      /that nobody vouches for \(.*\): set KAFKA_TLS_CA/,
    ],
    [
      'a certificate for another name',
      () => ({ ...byLogin(), KAFKA_URL: at(kafka.urls.login) }),
      /for another name \(does not match certificate's altnames: Host: localhost\): use the name .* in KAFKA_URL/,
    ],
    [
      'no client certificate where it wants one',
      () => ({ KAFKA_URL: kafka.urls.certificate, ...trusted() }),
      /refuses this client's certificate \(.*\): set KAFKA_TLS_CERT and KAFKA_TLS_KEY\.$/,
    ],
    [
      'TLS at a port without',
      () => ({ KAFKA_URL: kafka.urls.plain, ...trusted() }),
      /speaks no TLS there: unset KAFKA_TLS, or name its TLS port in KAFKA_URL\.$/,
    ],
    [
      'no TLS at a port that has nothing else',
      () => ({ KAFKA_URL: kafka.urls.certificate }),
      /speaks TLS only: set KAFKA_TLS=true/,
    ],
    [
      'no TLS at a port that wants a login too',
      () => ({ KAFKA_URL: kafka.urls.login, ...login('plain') }),
      /speaks TLS only: set KAFKA_TLS=true/,
    ],
    [
      'nobody there',
      () => ({ KAFKA_URL: '127.0.0.1:1', ...trusted() }),
      /^No Kafka broker answers at 127\.0\.0\.1:1/,
    ],
  ]
  test.each(wrong)('says what is wrong with %s', async (_, variables, wanted) => {
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
    ['require by the environment', () => ({ POSTGRES_URL: at(''), PGSSLMODE: 'require' })],
    ['verify-ca', () => ({ POSTGRES_URL: at(`?sslmode=verify-ca${trusted()}`) })],
    [
      'verify-ca, at another name',
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
  test.each(well)('answers to %s', async (_, variables) => {
    expect(await failure(variables())).toBeUndefined()
  })

  const wrong: [name: string, variables: () => Variables, wanted: RegExp][] = [
    ['no TLS', () => ({ POSTGRES_URL: at('') }), /lets nobody in without TLS: add sslmode=require or better/],
    [
      'a wrong password',
      () => ({ POSTGRES_URL: at('?sslmode=require'), POSTGRES_PASSWORD: 'guessed' }),
      /refuses user "postgres": set POSTGRES_USER and POSTGRES_PASSWORD\.$/,
    ],
    [
      'a certificate that nobody known has signed',
      () => ({ POSTGRES_URL: at('?sslmode=verify-full') }),
      /that nobody vouches for \(.*\): name the file of who signed it by sslrootcert/,
    ],
    [
      'a certificate that another authority has signed, where it is to be looked at',
      () => ({ POSTGRES_URL: at(`?sslmode=require&sslrootcert=${stranger.file}`) }),
      /that nobody vouches for \(.*\): name the file of who signed it by sslrootcert/,
    ],
    [
      'a certificate for another name',
      () => ({ POSTGRES_URL: at(`?sslmode=verify-full${trusted()}`, 'localhost') }),
      /for another name \(does not match certificate's altnames: Host: localhost\): .*sslmode=verify-ca/,
    ],
    [
      'no client certificate where it wants one',
      () => ({ POSTGRES_URL: at('?sslmode=require'), POSTGRES_USER: 'certified' }),
      /asks for a client certificate: name it by sslcert and sslkey/,
    ],
    [
      "a stranger's client certificate",
      () => ({
        POSTGRES_URL: at(`?sslmode=require&sslcert=${forged.cert}&sslkey=${forged.key}`),
        POSTGRES_USER: 'certified',
      }),
      /refuses this client's certificate \(.*\): name another by sslcert and sslkey/,
    ],
    [
      'TLS where there is none',
      () => ({
        POSTGRES_URL: `${process.env.POSTGRES_URL}?sslmode=require`,
        POSTGRES_PASSWORD: process.env.POSTGRES_PASSWORD!,
      }),
      /speaks no TLS: turn it on there \(ssl = on\), or use sslmode=disable/,
    ],
  ]
  test.each(wrong)('says what is wrong with %s', async (_, variables, wanted) => {
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

  /** The environment is read before anything is waited for, so that several may be under way. */
  function failure(variables: Variables): Promise<string | undefined> {
    const before = process.env
    process.env = { ...before, ...variables }
    const asked = failureOf(() => withTemporal(client => client.workflow.count()))
    process.env = before
    return asked
  }

  test('answers to a client certificate', async () => {
    expect(await failure(certified())).toBeUndefined()
    expect(byCertificateOnly.passed).toBeGreaterThan(0)
  })

  test('answers to an API key', async () => {
    expect(await failure(keyed())).toBeUndefined()
    expect(byKeyOnly.passed).toBeGreaterThan(0)
  })

  const wrong: [name: string, variables: () => Variables, wanted: RegExp][] = [
    [
      'no client certificate',
      () => ({ ...certified(), TEMPORAL_TLS_CLIENT_CERT_PATH: '', TEMPORAL_TLS_CLIENT_KEY_PATH: '' }),
      /refuses this client's certificate \(.*\): set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH/,
    ],
    [
      "a stranger's client certificate",
      () => certified(forged),
      /refuses this client's certificate \(.*\): set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH/,
    ],
    [
      'a certificate that another authority has signed',
      () => ({ ...certified(), TEMPORAL_TLS_SERVER_CA_CERT_PATH: stranger.file }),
      /that nobody vouches for \(.*\): set TEMPORAL_TLS_SERVER_CA_CERT_PATH/,
    ],
    [
      'a file that is not there',
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
      'TLS where there is none',
      () => ({ ...trusted(), TEMPORAL_ADDRESS: process.env.TEMPORAL_ADDRESS! }),
      /speaks no TLS there: set TEMPORAL_TLS=false/,
    ],
    [
      'no TLS where there is nothing else',
      () => ({ TEMPORAL_ADDRESS: byKeyOnly.address }),
      /No Temporal server answers at .*TEMPORAL_TLS=true/,
    ],
  ]
  // All at once: the SDK tries for five seconds.
  const failures = new Map<string, Promise<string | undefined>>()
  beforeAll(() => {
    for (const [name, variables] of wrong) failures.set(name, failure(variables()))
  })

  test.each(wrong)('says what is wrong with %s', async (name, _, wanted) => {
    expect(await failures.get(name)).toMatch(wanted)
  })
})
