import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { UserError } from '../../src/cli/errors'
import { loadConfig } from '../../src/config'
import { withAdmin } from '../../src/kafka/client'
import { Authority } from '../support/certificates'
import { SecureKafka } from '../support/secure-kafka'

const USER = { name: 'counter', password: 'let-me-in' }

let folder: string
let authority: Authority
let stranger: Authority
let kafka: SecureKafka
let client: { cert: string; key: string }

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'web-traffic-certificates-'))
  authority = await Authority.create(folder, 'authority')
  stranger = await Authority.create(folder, 'stranger')
  client = await authority.issue('client')
  kafka = await SecureKafka.start(authority, USER)
})

afterAll(async () => {
  await kafka?.end()
  rmSync(folder, { recursive: true })
})

type Variables = Record<string, string>

/** What a command fails with that asks Kafka; undefined where it is answered. */
async function failure(variables: Variables): Promise<string | undefined> {
  try {
    await withAdmin(loadConfig(variables).kafka, admin => admin.listTopics())
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(UserError)
    const { message } = error as Error
    expect(message).not.toContain('\n')
    expect(message).not.toContain(USER.password)
    return message
  }
}

describe('Kafka', () => {
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
