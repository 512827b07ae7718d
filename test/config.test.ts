import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { parse } from 'dotenv'
import { UserError } from '../src/errors'
import { completeEnvironment, loadConfig } from '../src/config'
import { environmentSchema } from '../src/environment'
import { temporalConfig } from '../src/temporal/connection'

const ROOT = join(__dirname, '..')

const MINUTE = 60_000

const DEFAULTS = {
  kafka: { brokers: ['localhost:9092'] },
  settings: {
    group: 'web_traffic_group',
    topic: 'web_traffic_topic',
    windowSize: 5 * MINUTE,
    watermarkDelay: MINUTE,
    allowedLateness: 0,
    idleTimeout: 10_000,
    maxFuture: MINUTE,
    maxGroups: 250_000,
    flushInterval: 5_000,
    referrer: 'full',
  },
  postgres: { host: 'localhost', port: 5432, database: 'web_traffic', user: 'postgres' },
  pollers: 1,
  taskQueue: 'web_traffic_group',
}

function mistakes(environment: Record<string, string>): string {
  let error: unknown
  try {
    loadConfig(environment)
  } catch (thrown) {
    error = thrown
  }
  expect(error).toBeInstanceOf(UserError)
  const { message } = error as Error
  expect(message).not.toContain('\n')
  return message
}

describe('without variables', () => {
  test('every setting has its default', () => {
    expect(loadConfig({})).toEqual(DEFAULTS)
  })

  test('unrelated variables are ignored', () => {
    expect(loadConfig({ PATH: '/bin', WINDOW: 'x' })).toEqual(DEFAULTS)
  })
})

describe('each variable is read', () => {
  test.each([
    ['KAFKA_URL', 'kafka:1', { kafka: { brokers: ['kafka:1'] } }],
    ['KAFKA_URL', 'a:1, b:2,PLAINTEXT://c:3', { kafka: { brokers: ['a:1', 'b:2', 'c:3'] } }],
    ['KAFKA_TOPIC', 'events', { settings: { topic: 'events' } }],
    ['KAFKA_GROUP', 'shop.eu-1_x', { settings: { group: 'shop.eu-1_x' }, taskQueue: 'shop.eu-1_x' }],
    ['TEMPORAL_TASK_QUEUE', 'queue', { settings: { group: 'web_traffic_group' }, taskQueue: 'queue' }],
    ['WINDOW_SIZE', '1h', { settings: { windowSize: 60 * MINUTE } }],
    ['WINDOW_SIZE', '1000ms', { settings: { windowSize: 1_000 } }],
    ['WATERMARK_DELAY', '0s', { settings: { watermarkDelay: 0 } }],
    ['WATERMARK_DELAY', ' 90s ', { settings: { watermarkDelay: 90_000 } }],
    ['IDLE_TIMEOUT', '100ms', { settings: { idleTimeout: 100 } }],
    ['ALLOWED_LATENESS', '2h', { settings: { allowedLateness: 7_200_000 } }],
    ['MAX_GROUPS', '1000', { settings: { maxGroups: 1_000 } }],
    ['MAX_FUTURE', '0s', { settings: { maxFuture: 0 } }],
    ['FLUSH_INTERVAL', '50ms', { settings: { flushInterval: 50 } }],
    ['REFERRER', 'origin', { settings: { referrer: 'origin' } }],
    ['POLLERS', '12', { pollers: 12 }],
    ['RETENTION', '400d', { retention: 400 * 24 * 60 * MINUTE }],
    ['RETENTION', '0s', DEFAULTS],
    ['GEO_DATABASE', '/data/country.mmdb', { geoDatabase: '/data/country.mmdb' }],
    ['GEO_PROVIDER', 'mmdb', DEFAULTS],
    ['GEO_PROVIDER', 'ip2location', { geoService: { url: 'https://api.ip2location.io/', rate: 50 } }],
    ['POSTGRES_USER', 'writer', { postgres: { user: 'writer' } }],
    ['POSTGRES_PASSWORD', ' p:a%20ss ', { postgres: { password: ' p:a%20ss ' } }],
    ['HEALTH_ADDRESS', '0.0.0.0:8081', { health: { host: '0.0.0.0', port: 8_081 } }],
    ['HEALTH_ADDRESS', '[::]:1', { health: { host: '::', port: 1 } }],
    ['HEALTH_ADDRESS', 'worker.local:65535', { health: { host: 'worker.local', port: 65_535 } }],
    ['METRICS_ADDRESS', '0.0.0.0:9464', { metrics: { host: '0.0.0.0', port: 9_464 } }],
    ['METRICS_ADDRESS', '[::1]:1', { metrics: { host: '::1', port: 1 } }],
    ['POSTGRES_DB', 'Shop DB', { postgres: { database: 'Shop DB' } }],
  ])('%s=%s', (name, value, wanted) => {
    expect(loadConfig({ [name]: value })).toMatchObject(wanted)
  })

  test('and an empty one counts as unset', () => {
    const names = Object.keys(environmentSchema.shape)
    expect(loadConfig(Object.fromEntries(names.map(name => [name, ''])))).toEqual(DEFAULTS)
  })
})

describe('the connection to Kafka', () => {
  const login = {
    KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
    KAFKA_SASL_USERNAME: 'me',
    KAFKA_SASL_PASSWORD: 'hunter2',
  }

  test('with a login and TLS', () => {
    expect(loadConfig({ ...login, KAFKA_TLS: 'true' }).kafka).toEqual({
      brokers: ['localhost:9092'],
      tls: {},
      sasl: { mechanism: 'scram-sha-512', username: 'me', password: 'hunter2' },
    })
  })

  test.each([
    [{ KAFKA_TLS: 'yes' }, 'KAFKA_TLS: "yes" is not true or false'],
    [{ KAFKA_TLS_CA: 'ca.pem' }, 'KAFKA_TLS_CA requires KAFKA_TLS=true'],
    [{ KAFKA_TLS: 'true', KAFKA_TLS_CA: 'no-such.pem' }, 'KAFKA_TLS_CA: no-such.pem cannot be read (ENOENT)'],
    [
      { KAFKA_TLS: 'true', KAFKA_TLS_CA: 'package.json' },
      'KAFKA_TLS_CA: package.json contains no certificate',
    ],
    [{ KAFKA_TLS: 'true', KAFKA_TLS_CERT: 'c.pem' }, 'needs both KAFKA_TLS_CERT and KAFKA_TLS_KEY'],
    [{ ...login, KAFKA_SASL_MECHANISM: 'gssapi' }, 'not one of plain, scram-sha-256, scram-sha-512'],
    [{ ...login, KAFKA_SASL_MECHANISM: '' }, 'needs all of KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and'],
    [{ ...login, KAFKA_SASL_USERNAME: '' }, 'needs all of KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and'],
  ])('%j is refused in one line without the password', (variables, says) => {
    const message = mistakes(variables)
    expect(message).toContain(says)
    expect(message).not.toContain('hunter2')
  })
})

describe('POSTGRES_URL', () => {
  const read = (url: string, more: Record<string, string> = {}) =>
    loadConfig({ POSTGRES_URL: url, ...more }).postgres

  test.each([
    [
      'postgresql://db.example:6543/shop',
      { host: 'db.example', port: 6543, database: 'shop', user: 'postgres' },
    ],
    ['postgres://db/shop', { host: 'db', port: 5432, database: 'shop', user: 'postgres' }],
    ['postgresql://db', { host: 'db', port: 5432, database: 'web_traffic', user: 'postgres' }],
    ['postgresql://db/', { host: 'db', port: 5432, database: 'web_traffic', user: 'postgres' }],
    ['postgresql://me@db/shop', { host: 'db', port: 5432, database: 'shop', user: 'me' }],
    [
      'postgresql://me:secret@db/shop',
      { host: 'db', port: 5432, database: 'shop', user: 'me', password: 'secret' },
    ],
    [
      'postgresql://m%40e:s%3A%2F%3F%23%25+%C3%A9@db/my%20shop',
      { host: 'db', port: 5432, database: 'my shop', user: 'm@e', password: 's:/?#%+é' },
    ],
    ['jdbc:postgresql://db:1/shop', { host: 'db', port: 1, database: 'shop', user: 'postgres' }],
    [
      'jdbc:postgresql://db/shop?user=me&password=s%26%3D+1',
      { host: 'db', port: 5432, database: 'shop', user: 'me', password: 's&= 1' },
    ],
    [
      'postgresql://me@db/shop?sslmode=require',
      { host: 'db', port: 5432, database: 'shop', user: 'me', ssl: { rejectUnauthorized: false } },
    ],
    [
      'postgresql://me@db/shop?sslmode=verify-full&sslrootcert=system',
      { host: 'db', port: 5432, database: 'shop', user: 'me', ssl: {} },
    ],
    [
      'jdbc:postgresql://db/shop?ssl=true',
      { host: 'db', port: 5432, database: 'shop', user: 'postgres', ssl: {} },
    ],
    [
      'postgresql://me@db/shop?sslmode=disable',
      { host: 'db', port: 5432, database: 'shop', user: 'me', ssl: false },
    ],
  ])('%s', (url, wanted) => {
    expect(read(url)).toEqual(wanted)
  })

  test('is overridden by POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB', () => {
    const over = { POSTGRES_USER: 'u', POSTGRES_PASSWORD: 'p', POSTGRES_DB: 'd' }
    for (const url of ['postgresql://me:secret@db/shop', 'jdbc:postgresql://db/shop?user=me&password=secret'])
      expect(read(url, over)).toEqual({ host: 'db', port: 5432, database: 'd', user: 'u', password: 'p' })
  })

  test('is not overridden by empty variables', () => {
    const empty = { POSTGRES_USER: '', POSTGRES_PASSWORD: '', POSTGRES_DB: '' }
    expect(read('postgresql://me:secret@db/shop', empty)).toMatchObject({
      database: 'shop',
      user: 'me',
      password: 'secret',
    })
  })

  test('may have an IPv6 address, whose brackets are removed', () => {
    expect(read('postgresql://[::1]:5433/shop')).toMatchObject({ host: '::1', port: 5433 })
  })

  test('in JDBC form may consist of a database name', () => {
    expect(read('jdbc:postgresql:shop')).toMatchObject({ host: 'localhost', port: 5432, database: 'shop' })
  })

  test('takes precedence over PGSSLMODE, which applies if the URL has no sslmode', () => {
    expect(read('postgresql://db/shop?sslmode=disable', { PGSSLMODE: 'require' })).toMatchObject({
      ssl: false,
    })
    expect(read('postgresql://db/shop', { PGSSLMODE: 'require' })).toMatchObject({
      ssl: { rejectUnauthorized: false },
    })
  })

  test.each([
    ['?sslmode=prefer', 'sslmode "prefer" is not supported: use disable, require, verify-ca or verify-full'],
    ['?sslmode=verify-ca', 'verify-ca needs sslrootcert'],
    ['?sslrootcert=ca.pem', 'sslrootcert needs an sslmode'],
    [
      '?sslmode=verify-full&sslrootcert=no-such.pem',
      'sslrootcert (PGSSLROOTCERT): no-such.pem cannot be read (ENOENT)',
    ],
    ['?sslmode=verify-full&sslrootcert=package.json', 'package.json contains no certificate'],
    ['?sslmode=require&sslcert=c.pem', 'needs both sslcert (PGSSLCERT) and sslkey (PGSSLKEY)'],
  ])('with %s is refused in one line', (parameters, says) => {
    expect(mistakes({ POSTGRES_URL: `postgresql://me:hunter2@db/shop${parameters}` })).toContain(says)
    expect(mistakes({ POSTGRES_URL: `postgresql://me:hunter2@db/shop${parameters}` })).not.toContain(
      'hunter2',
    )
  })

  test('with an invalid % escape is refused in one line', () => {
    expect(mistakes({ POSTGRES_URL: 'postgresql://me:100%@db/shop' })).toContain('POSTGRES_URL')
  })
})

describe('a mistake is one line that names the variable, the value and the expected form', () => {
  const DURATION = 'write 500ms, 10s, 5m or 1h'

  test.each([
    ['RETENTION', '12m', 'a day or longer, or 0s'],
    ['WINDOW_SIZE', '0', DURATION],
    ['WINDOW_SIZE', '0s', 'at least 1000ms'],
    ['WINDOW_SIZE', '999ms', 'at least 1000ms'],
    ['WINDOW_SIZE', '5 minutes', DURATION],
    ['WINDOW_SIZE', '-1s', DURATION],
    ['WINDOW_SIZE', '1.5m', DURATION],
    ['WINDOW_SIZE', '1e3s', DURATION],
    ['WATERMARK_DELAY', '-1s', DURATION],
    ['WATERMARK_DELAY', '1', DURATION],
    ['IDLE_TIMEOUT', '99ms', 'at least 100ms'],
    ['MAX_FUTURE', 'never', DURATION],
    ['FLUSH_INTERVAL', '0s', 'at least 50ms'],
    ['MAX_GROUPS', '0', 'a whole number from 1 to 1000000'],
    ['MAX_GROUPS', '1000001', 'a whole number from 1 to 1000000'],
    ['POLLERS', '0', 'a whole number from 1 to 9999'],
    ['POLLERS', '-1', 'a whole number from 1 to 9999'],
    ['POLLERS', '1.5', 'a whole number from 1 to 9999'],
    ['POLLERS', 'many', 'a whole number from 1 to 9999'],
    ['POLLERS', '10000', 'a whole number from 1 to 9999'],
    ['HEALTH_ADDRESS', '8081', 'HOST:PORT'],
    ['HEALTH_ADDRESS', ':8081', 'HOST:PORT'],
    ['HEALTH_ADDRESS', '::1:8081', 'HOST:PORT'],
    ['HEALTH_ADDRESS', 'localhost:0', 'HOST:PORT'],
    ['HEALTH_ADDRESS', 'localhost:65536', 'HOST:PORT'],
    ['METRICS_ADDRESS', '9464', 'HOST:PORT'],
    ['METRICS_ADDRESS', 'localhost:65536', 'HOST:PORT'],
  ])('%s=%s', (name, value, form) => {
    const message = mistakes({ [name]: value })
    expect(message).toContain(`${name}: "${value}"`)
    expect(message).toContain(form)
  })

  test.each([
    ['REFERRER', 'foo', 'full or origin'],
    ['REFERRER', 'FULL', 'full or origin'],
    ['KAFKA_GROUP', 'a/b', 'letters, digits, ".", "_" and "-"'],
    ['KAFKA_GROUP', 'a b', 'letters, digits'],
    ['KAFKA_GROUP', 'x'.repeat(201), '200 at most'],
  ])('%s=%s (the variable and the form)', (name, value, form) => {
    const message = mistakes({ [name]: value })
    expect(message).toContain(`${name}: `)
    expect(message).toContain(form)
  })

  test.each([
    ['REFERRER', 'foo'],
    ['KAFKA_GROUP', 'a/b'],
  ])('%s=%s (the value)', (name, value) => {
    expect(mistakes({ [name]: value })).toContain(`"${value}"`)
  })

  test('a duration that is too long is a mistake', () => {
    expect(mistakes({ WINDOW_SIZE: `${'9'.repeat(20)}h` })).toContain('WINDOW_SIZE')
  })

  test.each([
    'garbage',
    'localhost:5432/web_traffic',
    'mysql://db/shop',
    'http://db',
    'postgresql://db:port/x',
  ])('POSTGRES_URL=%s', url => {
    const message = mistakes({ POSTGRES_URL: url })
    expect(message).toContain('POSTGRES_URL: ')
    expect(message).toContain('postgresql://localhost:5432/web_traffic')
  })

  test('the value of POSTGRES_URL, which may contain a password, is not shown', () => {
    expect(mistakes({ POSTGRES_URL: 'postgresql//me:hunter2@db/shop' })).not.toContain('hunter2')
  })

  test('several mistakes are named together, each once', () => {
    const message = mistakes({
      WINDOW_SIZE: '0',
      POLLERS: '0',
      REFERRER: 'foo',
      KAFKA_GROUP: 'a/b',
      POSTGRES_URL: 'garbage',
      IDLE_TIMEOUT: '1s',
    })
    const named = ['KAFKA_GROUP', 'POSTGRES_URL', 'WINDOW_SIZE', 'POLLERS', 'REFERRER']
    for (const name of named) expect(message.split(`${name}: `)).toHaveLength(2)
    expect(message).not.toContain('IDLE_TIMEOUT')
  })
})

describe('missing variables are set', () => {
  let folder: string
  let before: NodeJS.ProcessEnv

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'web-traffic-config-'))
    before = process.env
    process.env = {}
  })

  afterEach(() => {
    process.env = before
    rmSync(folder, { recursive: true })
  })

  const file = (text: string) => {
    const path = join(folder, 'stream.env')
    writeFileSync(path, text)
    return path
  }

  test('from stream.env first, and then from the cluster', async () => {
    process.env = { KAFKA_TOPIC: 'environment' }
    await completeEnvironment(
      () => Promise.resolve({ KAFKA_TOPIC: 'cluster', KAFKA_GROUP: 'cluster', KAFKA_URL: 'cluster:1' }),
      file('KAFKA_TOPIC=file\nKAFKA_GROUP=file\n'),
    )
    expect(process.env).toEqual({ KAFKA_TOPIC: 'environment', KAFKA_GROUP: 'file', KAFKA_URL: 'cluster:1' })
    expect(loadConfig()).toMatchObject({
      kafka: { brokers: ['cluster:1'] },
      settings: { topic: 'environment', group: 'file' },
    })
  })

  test('from the cluster if there is no file; none if there is no cluster either', async () => {
    const missing = join(folder, 'none.env')
    await completeEnvironment(() => Promise.resolve(undefined), missing)
    expect(process.env).toEqual({})
    await completeEnvironment(() => Promise.resolve({ KAFKA_URL: 'cluster:1' }), missing)
    expect(process.env).toEqual({ KAFKA_URL: 'cluster:1' })
  })

  test('from a file with comments, quotes, export and Windows line endings', async () => {
    const text =
      '# comment\r\nKAFKA_TOPIC="a b" # more\r\nexport KAFKA_GROUP=g\r\nPOSTGRES_PASSWORD=\'p#w\'\r\n'
    await completeEnvironment(() => Promise.resolve(undefined), file(text))
    expect(process.env).toEqual({ KAFKA_TOPIC: 'a b', KAFKA_GROUP: 'g', POSTGRES_PASSWORD: 'p#w' })
  })

  test('even if the variable exists but is empty', async () => {
    process.env = { KAFKA_TOPIC: '' }
    await completeEnvironment(
      () => Promise.resolve({ POSTGRES_USER: 'cluster' }),
      file('KAFKA_TOPIC=file\nPOSTGRES_USER=\n'),
    )
    expect(process.env).toEqual({ KAFKA_TOPIC: 'file', POSTGRES_USER: 'cluster' })
  })

  test('an empty TEMPORAL_API_KEY counts as unset', () => {
    const wanted = temporalConfig()
    process.env = { TEMPORAL_API_KEY: '' }
    expect(temporalConfig()).toEqual(wanted)
  })
})

describe('stream.env.example', () => {
  const TEMPORAL = {
    TEMPORAL_ADDRESS: 'localhost:7233',
    TEMPORAL_NAMESPACE: 'default',
    TEMPORAL_API_KEY: '',
    TEMPORAL_UI_URL: '',
  }
  const OPEN_TELEMETRY = {
    OTEL_EXPORTER_OTLP_ENDPOINT: '',
    OTEL_EXPORTER_OTLP_HEADERS: '',
    OTEL_SERVICE_NAME: 'web-traffic',
    OTEL_TRACES_SAMPLER: 'parentbased_always_on',
  }
  const text = readFileSync(join(ROOT, 'stream.env.example'), 'utf8')
  const example = parse(text.replace(/^# (?=[A-Z][A-Z_]*=)/gm, ''))

  test('has every variable of the schema, and no other but those of Temporal and OpenTelemetry', () => {
    const names = Object.keys(environmentSchema.shape)
    expect(names.length).toBeGreaterThan(15)
    const others = Object.keys({ ...TEMPORAL, ...OPEN_TELEMETRY })
    expect(Object.keys(example).sort()).toEqual([...names, ...others].sort())
  })

  test('has the default values', () => {
    expect(loadConfig(example)).toEqual(DEFAULTS)
    expect(example).toMatchObject({ ...TEMPORAL, ...OPEN_TELEMETRY })
  })

  test('sets nothing, since every line is a comment', () => {
    expect(parse(text)).toEqual({})
  })

  test('explains each variable in the line above it', () => {
    const lines = text.split('\n')
    for (const [at, line] of lines.entries())
      if (/^# [A-Z][A-Z_]*=/.test(line)) expect(lines[at - 1]).toMatch(/^# \S.*[.:]$/)
  })
})
