import { existsSync, readFileSync } from 'node:fs'
import { parse as parseEnvFile } from 'dotenv'
import { z } from 'zod'
import { UserError } from './errors'
import { parseDuration } from './core/duration'
import type { PipelineSettings } from './core/settings'
import { postgresTls } from './postgres/tls'
import { kafkaConnection, SASL_MECHANISMS, type KafkaConnection } from './kafka/connection'
import type { PostgresConfig } from './postgres/database'
import type { LookupConfig } from './geo/open-lookup'
import type { ListenAddress } from './telemetry/exporter'

export interface Config extends LookupConfig {
  kafka: KafkaConnection
  settings: PipelineSettings
  postgres: PostgresConfig
  /** Counts older than this are dropped, milliseconds; undefined to keep everything. */
  retention?: number
  pollers: number
  taskQueue: string
  /** Version of this worker's code; undefined if the workers are not versioned. */
  buildId?: string
  /** Where a worker answers probes, if it does. */
  health?: ListenAddress
  /** Where a worker serves its metrics, if it does. */
  metrics?: ListenAddress
}

const DAY = 86_400_000

type Environment = Record<string, string | undefined>

/** Turns a text into a value. If `parse` returns undefined, the message names the text and `expected`. */
const parsed = <T>(parse: (text: string) => T | undefined, expected: string, showText = true) =>
  z.string().transform((text, context) => {
    const value = parse(text)
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', message: `${showText ? `"${text}" ` : ''}is not ${expected}` })
    return z.NEVER
  })

const oneOf = <const T extends readonly string[]>(values: T) =>
  parsed((text): T[number] | undefined => values.find(value => value === text), values.join(' or '))

const duration = (fallback: string, min = 0) =>
  parsed(
    text => {
      const milliseconds = parseDuration(text)
      return milliseconds !== undefined && milliseconds >= min ? milliseconds : undefined
    },
    `a duration${min > 0 ? ` of at least ${min}ms` : ''} (write 500ms, 10s, 5m or 1h)`,
  ).prefault(fallback)

/** At least a day: minutes instead of months would drop nearly everything. */
const retention = parsed(text => {
  const milliseconds = parseDuration(text)
  return milliseconds === 0 || (milliseconds ?? 0) >= DAY ? milliseconds : undefined
}, 'a day or longer, or 0s to keep counts forever (write 400d)').prefault('0s')

const wholeNumber = (fallback: string, max: number) =>
  parsed(
    text => (/^[1-9]\d*$/.test(text) && Number(text) <= max ? Number(text) : undefined),
    `a whole number from 1 to ${max}`,
  ).prefault(fallback)

/** The message does not show the text, which may contain a password. */
const postgresUrl = parsed(
  text => {
    try {
      // A JDBC URL may consist of a database name only: jdbc:postgresql:web_traffic.
      const url = new URL(
        text.replace(/^jdbc:/, '').replace(/^(postgres(?:ql)?):(?!\/\/)\/?/, '$1://localhost/'),
      )
      for (const part of [url.username, url.password, url.pathname]) decodeURIComponent(part)
      return url.protocol === 'postgresql:' || url.protocol === 'postgres:' ? url : undefined
    } catch {
      return undefined
    }
  },
  'a URL such as postgresql://localhost:5432/web_traffic',
  false,
)

const listenAddress = parsed((text): ListenAddress | undefined => {
  const [, host, digits] = /^(\[[\da-f:]+\]|[^\s:]+):(\d{1,5})$/i.exec(text) ?? []
  const port = Number(digits)
  if (host === undefined || port < 1 || port > 65_535) return undefined
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port }
}, 'HOST:PORT, such as 0.0.0.0:8081')

const kafkaSchema = z.object({
  KAFKA_URL: z.string().default('localhost:9092'),
  KAFKA_TLS: oneOf(['true', 'false'])
    .transform(value => value === 'true')
    .prefault('false'),
  KAFKA_TLS_CA: z.string().optional(),
  KAFKA_TLS_CERT: z.string().optional(),
  KAFKA_TLS_KEY: z.string().optional(),
  KAFKA_SASL_MECHANISM: z
    .string()
    .toLowerCase()
    .pipe(z.enum(SASL_MECHANISMS, { error: `is not one of ${SASL_MECHANISMS.join(', ')}` }))
    .optional(),
  KAFKA_SASL_USERNAME: z.string().optional(),
  KAFKA_SASL_PASSWORD: z.string().optional(),
})

const environmentSchema = kafkaSchema.extend({
  KAFKA_TOPIC: z.string().default('web_traffic_topic'),
  KAFKA_GROUP: parsed(
    text => (/^[\w.-]{1,200}$/.test(text) ? text : undefined),
    'a valid prefix for workflow ids: use letters, digits, ".", "_" and "-", 200 at most',
  ).prefault('web_traffic_group'),
  POSTGRES_URL: postgresUrl.prefault('postgresql://localhost:5432/'),
  POSTGRES_USER: z.string().optional(),
  POSTGRES_PASSWORD: z.string().optional(),
  POSTGRES_DB: z.string().optional(),
  RETENTION: retention,
  PGSSLMODE: z.string().optional(),
  PGSSLROOTCERT: z.string().optional(),
  PGSSLCERT: z.string().optional(),
  PGSSLKEY: z.string().optional(),
  WINDOW_SIZE: duration('5m', 1_000),
  WATERMARK_DELAY: duration('1m'),
  ALLOWED_LATENESS: duration('0s'),
  IDLE_TIMEOUT: duration('10s', 100),
  MAX_FUTURE: duration('1m'),
  MAX_GROUPS: wholeNumber('250000', 1_000_000),
  FLUSH_INTERVAL: duration('5s', 50),
  POLLERS: wholeNumber('1', 9_999),
  REFERRER: oneOf(['full', 'origin']).prefault('full'),
  GEO_PROVIDER: oneOf(['mmdb', 'ip2location']).prefault('mmdb'),
  GEO_DATABASE: z.string().optional(),
  GEO_URL: z
    .url({ protocol: /^https?$/, error: 'is not a URL such as https://api.ip2location.io/' })
    .default('https://api.ip2location.io/'),
  GEO_RATE: wholeNumber('50', 10_000),
  GEO_ON_ERROR: oneOf(['wait', 'unknown']).prefault('wait'),
  IP_CODING_KEY: z.string().optional(),
  TEMPORAL_TASK_QUEUE: z.string().optional(),
  WORKER_BUILD_ID: z.string().optional(),
  HEALTH_ADDRESS: listenAddress.optional(),
  METRICS_ADDRESS: listenAddress.optional(),
})

function parse<Schema extends z.ZodType>(schema: Schema, environment: Environment): z.infer<Schema> {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
  const result = schema.safeParse(given)
  if (result.success) return result.data
  const mistakes = result.error.issues.map(issue => `${issue.path.join('.')}: ${issue.message}`)
  throw new UserError(`The configuration is invalid: ${mistakes.join('; ')}.`)
}

/** Like {@link loadConfig}, but reads only the variables for the connection to Kafka. */
export function loadKafkaConnection(environment: Environment = process.env): KafkaConnection {
  return kafkaConnection(parse(kafkaSchema, environment))
}

/**
 * Reads the configuration from the environment. An empty variable counts as unset.
 *
 * @throws UserError that names every mistake in one line
 */
export function loadConfig(environment: Environment = process.env): Config {
  const env = parse(environmentSchema, environment)
  return {
    kafka: kafkaConnection(env),
    settings: {
      group: env.KAFKA_GROUP,
      topic: env.KAFKA_TOPIC,
      windowSize: env.WINDOW_SIZE,
      watermarkDelay: env.WATERMARK_DELAY,
      allowedLateness: env.ALLOWED_LATENESS,
      idleTimeout: env.IDLE_TIMEOUT,
      maxFuture: env.MAX_FUTURE,
      maxGroups: env.MAX_GROUPS,
      flushInterval: env.FLUSH_INTERVAL,
      referrer: env.REFERRER,
    },
    postgres: postgresConfig(env),
    ...(env.RETENTION > 0 && { retention: env.RETENTION }),
    pollers: env.POLLERS,
    taskQueue: env.TEMPORAL_TASK_QUEUE ?? env.KAFKA_GROUP,
    ...(env.WORKER_BUILD_ID !== undefined && { buildId: env.WORKER_BUILD_ID }),
    ...(env.GEO_DATABASE !== undefined && { geoDatabase: env.GEO_DATABASE }),
    ...(env.GEO_PROVIDER === 'ip2location' && {
      geoService: {
        ...{ url: env.GEO_URL, rate: env.GEO_RATE, onError: env.GEO_ON_ERROR },
        ...(env.IP_CODING_KEY !== undefined && { key: env.IP_CODING_KEY }),
      },
    }),
    ...(env.HEALTH_ADDRESS !== undefined && { health: env.HEALTH_ADDRESS }),
    ...(env.METRICS_ADDRESS !== undefined && { metrics: env.METRICS_ADDRESS }),
  }
}

function postgresConfig(env: z.infer<typeof environmentSchema>): PostgresConfig {
  const url = env.POSTGRES_URL
  // A JDBC URL has its credentials in parameters.
  const parameter = (name: string) => url.searchParams.get(name) ?? undefined
  const password = env.POSTGRES_PASSWORD ?? (decodeURIComponent(url.password) || parameter('password'))
  // The meaning of `ssl=true` in a JDBC URL.
  const jdbcMode = parameter('ssl') === 'true' ? 'verify-full' : undefined
  const ssl = postgresTls({
    sslmode: parameter('sslmode') ?? jdbcMode ?? env.PGSSLMODE,
    sslrootcert: parameter('sslrootcert') ?? env.PGSSLROOTCERT,
    sslcert: parameter('sslcert') ?? env.PGSSLCERT,
    sslkey: parameter('sslkey') ?? env.PGSSLKEY,
  })
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1') || 'localhost',
    port: Number(url.port || 5432),
    database: env.POSTGRES_DB ?? (decodeURIComponent(url.pathname.slice(1)) || 'web_traffic'),
    user: env.POSTGRES_USER ?? (decodeURIComponent(url.username) || parameter('user') || 'postgres'),
    ...(password !== undefined && { password }),
    ...(ssl !== undefined && { ssl }),
  }
}

/**
 * Sets variables of the process that are unset or empty: from the file `stream.env` in the current folder, and then to the
 * addresses of a running development cluster.
 */
export async function completeEnvironment(
  clusterEnvironment: () => Promise<Environment | undefined>,
  file = 'stream.env',
): Promise<void> {
  const fill = (values: Environment) => {
    for (const [name, value] of Object.entries(values)) process.env[name] ||= value
  }
  if (existsSync(file)) fill(parseEnvFile(readFileSync(file)))
  fill((await clusterEnvironment()) ?? {})
  // Libraries that read the environment themselves do not treat an empty variable as unset.
  for (const [name, value] of Object.entries(process.env))
    if (value === '' && /^(KAFKA|POSTGRES|TEMPORAL)_|^PGSSL/.test(name)) delete process.env[name]
}
