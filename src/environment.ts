import { z } from 'zod'
import { parseDuration } from './core/duration'
import { SASL_MECHANISMS } from './kafka/connection'
import type { ListenAddress } from './telemetry/exporter'

const DAY = 86_400_000

/** Text that `parse` turns into a value, or into undefined if it is invalid. */
const parsed = <T>(parse: (text: string) => T | undefined, explain: (text: string) => string) =>
  z.string().transform((text, context) => {
    const value = parse(text)
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', message: explain(text) })
    return z.NEVER
  })

const duration = (fallback: string, min = 0) =>
  parsed(
    text => atLeast(min, parseDuration(text)),
    text =>
      `"${text}" is not a duration${min > 0 ? ` of at least ${min}ms` : ''} (write 500ms, 10s, 5m or 1h)`,
  ).prefault(fallback)

/** At least a day: `12m`, meant as months, would drop nearly everything. */
const retention = parsed(
  text => (parseDuration(text) === 0 ? 0 : atLeast(DAY, parseDuration(text))),
  text => `"${text}" is not a day or longer, or 0s to keep counts forever (write 400d)`,
).prefault('0s')

function atLeast(min: number, value: number | undefined): number | undefined {
  return value !== undefined && value >= min ? value : undefined
}

const postgresUrl = parsed(
  parsePostgresUrl,
  () => 'is not a URL such as postgresql://localhost:5432/web_traffic',
)

function parsePostgresUrl(text: string): URL | undefined {
  try {
    // A JDBC URL may consist of a database only: jdbc:postgresql:web_traffic.
    const url = new URL(
      text.replace(/^jdbc:/, '').replace(/^(postgres(?:ql)?):(?!\/\/)\/?/, '$1://localhost/'),
    )
    for (const part of [url.username, url.password, url.pathname]) decodeURIComponent(part)
    return /^postgres(ql)?:$/.test(url.protocol) ? url : undefined
  } catch {
    return undefined
  }
}

const count = (fallback: string, max: number) =>
  parsed(
    text => (/^[1-9]\d*$/.test(text) && Number(text) <= max ? Number(text) : undefined),
    text => `"${text}" is not a whole number from 1 to ${max}`,
  ).prefault(fallback)

const listenAddress = parsed(
  (text): ListenAddress | undefined => {
    const [, host, digits] = /^(\[[\da-f:]+\]|[^\s:]+):(\d{1,5})$/i.exec(text) ?? []
    const port = Number(digits)
    if (host === undefined || port < 1 || port > 65_535) return undefined
    return { host: host.replace(/^\[(.*)\]$/, '$1'), port }
  },
  text => `"${text}" is not HOST:PORT, such as 0.0.0.0:8081`,
)

const oneOf = <Value extends string>(values: readonly Value[], fallback: NoInfer<Value>) =>
  z
    .enum(values, { error: ({ input }) => `"${String(input)}" is not ${values.join(' or ')}` })
    .default(fallback)

const text = z.string().optional()

/** How docs/configuration.md and stream.env.example, which `npm run docs` writes, describe a variable. */
interface VariableMeta {
  /** The default, if the schema does not contain it. */
  fallback?: string
  /** The document in docs/ with the details. */
  see?: string
}

const variablesOf =
  (group: string) =>
  <Schema extends z.ZodType>(description: string, schema: Schema, meta: VariableMeta = {}): Schema =>
    schema.meta({ description, group, ...meta })

const kafka = variablesOf('Kafka')
const postgres = variablesOf('Postgres')
const counting = variablesOf('Counting')
const workers = variablesOf('Workers')
const countries = variablesOf('Countries')
const temporal = variablesOf('Temporal')

/** The variables that say how to reach Kafka. */
export const kafkaSchema = z.object({
  KAFKA_URL: kafka('brokers as `HOST:PORT`, separated by commas', z.string().default('localhost:9092')),
  KAFKA_TLS: kafka(
    'whether to connect with TLS',
    oneOf(['true', 'false'], 'false').transform(value => value === 'true'),
    { see: 'security' },
  ),
  KAFKA_TLS_CA: kafka('PEM file with the authorities to trust, instead of those that Node knows', text),
  KAFKA_TLS_CERT: kafka('PEM file with a client certificate, if the brokers require one', text),
  KAFKA_TLS_KEY: kafka('PEM file with the key of the client certificate', text),
  KAFKA_SASL_MECHANISM: kafka(
    'how to log in: `plain`, `scram-sha-256` or `scram-sha-512`',
    z
      .string()
      .toLowerCase()
      .pipe(z.enum(SASL_MECHANISMS, { error: `is not one of ${SASL_MECHANISMS.join(', ')}` }))
      .optional(),
    { see: 'security' },
  ),
  KAFKA_SASL_USERNAME: kafka('user of the login', text),
  KAFKA_SASL_PASSWORD: kafka('password of the login', text),
})

export const environmentSchema = kafkaSchema.extend({
  KAFKA_TOPIC: kafka('topic with the events', z.string().default('web_traffic_topic')),
  KAFKA_GROUP: kafka(
    'consumer group and name of the pipeline; every workflow id begins with it',
    z
      .string()
      .regex(/^[\w.-]{1,200}$/, {
        error: ({ input }) =>
          `"${String(input)}" may hold letters, digits, ".", "_" and "-" only, 200 at most: it begins every workflow id`,
      })
      .default('web_traffic_group'),
  ),
  POSTGRES_URL: postgres(
    'server with the results, one database per pipeline; `jdbc:postgresql://` works too',
    postgresUrl.prefault('postgresql://localhost:5432/'),
  ),
  POSTGRES_USER: postgres('user; overrides the URL', text, { fallback: 'postgres' }),
  POSTGRES_PASSWORD: postgres('password; overrides the URL', text),
  POSTGRES_DB: postgres('database, which `migrate` creates; overrides the URL', text, {
    fallback: 'web_traffic',
  }),
  RETENTION: postgres(
    'how long counts are kept, such as `400d`; `0s` keeps them forever. Whole months are dropped',
    retention,
    { see: 'postgres' },
  ),
  PGSSLMODE: postgres(
    '`disable`, `require`, `verify-ca` or `verify-full`, as in libpq. The URL may set it too (`?sslmode=`)',
    text,
    { see: 'security' },
  ),
  PGSSLROOTCERT: postgres('PEM file with the authorities to trust, for `verify-ca` and `verify-full`', text),
  PGSSLCERT: postgres('PEM file with a client certificate, if the server requires one', text),
  PGSSLKEY: postgres('PEM file with the key of the client certificate', text),
  WINDOW_SIZE: counting(
    'length of the tumbling windows, aligned to UTC; at least `1s`',
    duration('5m', 1_000),
  ),
  WATERMARK_DELAY: counting('how long a window waits for stragglers after its end', duration('1m')),
  ALLOWED_LATENESS: counting(
    'how long a window takes corrections after its first result, publishing it again when late events change it',
    duration('0s'),
  ),
  IDLE_TIMEOUT: counting(
    'how long a fully read partition may stay silent before windows stop waiting for it',
    duration('10s', 100),
  ),
  MAX_FUTURE: counting('events further ahead of their Kafka timestamp are rejected', duration('1m')),
  MAX_GROUPS: counting(
    'groups of a window (host, referrer, country) that keep their name, with 200 characters each on average; in a flood the rest counts under `(other)`',
    count('250000', 1_000_000),
  ),
  FLUSH_INTERVAL: counting(
    'how often a poller sends its counts; at once if a window is waiting for them',
    duration('5s', 50),
  ),
  REFERRER: counting(
    '`full` groups by the whole referrer, `origin` by its scheme, host and port',
    oneOf(['full', 'origin'], 'full'),
  ),
  POLLERS: workers('pollers that read the topic; each worker process runs one', count('1', 9_999)),
  WORKER_BUILD_ID: workers("build of the workers' code; enables worker versioning", text, {
    see: 'changing-workflows',
  }),
  HEALTH_ADDRESS: workers('`HOST:PORT` where a worker answers probes', listenAddress.optional(), {
    see: 'deployment',
  }),
  METRICS_ADDRESS: workers(
    '`HOST:PORT` where a worker serves Prometheus metrics; one port per worker',
    listenAddress.optional(),
    { see: 'metrics' },
  ),
  GEO_PROVIDER: countries(
    'where to look up addresses: `mmdb` is a local database, `ip2location` the service IP2Location.io',
    oneOf(['mmdb', 'ip2location'], 'mmdb'),
    { see: 'operations' },
  ),
  GEO_DATABASE: countries('MaxMind-format country or city database, instead of the bundled one', text),
  IP_CODING_KEY: countries('API key of the service; required with `GEO_PROVIDER=ip2location`', text),
  GEO_URL: countries(
    'URL of the service, or of a compatible one',
    z
      .url({ protocol: /^https?$/, error: 'is not a URL such as https://api.ip2location.io/' })
      .default('https://api.ip2location.io/'),
  ),
  GEO_RATE: countries('maximum number of lookups per second and worker', count('50', 10_000)),
  GEO_ON_ERROR: countries(
    'what to do with events while the service is down: `wait`, or count under `??` (`unknown`) until `replay --unlocated`',
    oneOf(['wait', 'unknown'], 'wait'),
  ),
  TEMPORAL_TASK_QUEUE: temporal(
    'task queue that the workers poll; by default the value of `KAFKA_GROUP`',
    text,
    {
      fallback: 'web_traffic_group',
    },
  ),
})
