import { existsSync, readFileSync } from 'node:fs'
import { parse as parseEnvFile } from 'dotenv'
import { z } from 'zod'
import { UserError } from './errors'
import { parseDuration } from './core/duration'
import type { PipelineSettings } from './core/settings'
import { postgresTls } from './postgres/tls'
import { kafkaConnection, SASL_MECHANISMS, type KafkaConnection } from './kafka/connection'
import type { PostgresConfig } from './postgres/database'
import type { GeoServiceConfig } from './geo/ip2location'
import type { LookupConfig } from './geo/open-lookup'
import type { ListenAddress } from './telemetry/exporter'

export interface Config extends LookupConfig {
  kafka: KafkaConnection
  settings: PipelineSettings
  postgres: PostgresConfig
  /** Counts older than this are dropped, milliseconds; undefined for never. */
  retention?: number
  pollers: number
  taskQueue: string
  /** Of this worker's code, where its workers are versioned. */
  buildId?: string
  /** Where a worker answers probes; undefined where it does not. */
  health?: ListenAddress
  /** Where a worker serves its metrics; undefined where it does not. */
  metrics?: ListenAddress
}

const DAY = 86_400_000

type Environment = Record<string, string | undefined>

const duration = (fallback: string, least = 0) =>
  z
    .string()
    .default(fallback)
    .transform((text, context) => {
      const milliseconds = parseDuration(text)
      if (milliseconds !== undefined && milliseconds >= least) return milliseconds
      const bound = least > 0 ? ` of at least ${least}ms` : ''
      context.addIssue({
        code: 'custom',
        message: `"${text}" is not a duration${bound} (write 500ms, 10s, 5m or 1h)`,
      })
      return z.NEVER
    })

/** Minutes, where months were meant, would drop nearly everything. */
const retention = z
  .string()
  .default('0s')
  .transform((text, context) => {
    const milliseconds = parseDuration(text)
    if (milliseconds === 0 || (milliseconds ?? 0) >= DAY) return milliseconds!
    context.addIssue({
      code: 'custom',
      message: `"${text}" is neither a day or longer nor 0s, which keeps counts for ever (write 400d)`,
    })
    return z.NEVER
  })

const postgresUrl = z.string().transform((text, context) => {
  try {
    // JDBC may name a database alone: jdbc:postgresql:web_traffic.
    const url = new URL(
      text.replace(/^jdbc:/, '').replace(/^(postgres(?:ql)?):(?!\/\/)\/?/, '$1://localhost/'),
    )
    for (const part of [url.username, url.password, url.pathname]) decodeURIComponent(part)
    if (url.protocol === 'postgresql:' || url.protocol === 'postgres:') return url
  } catch {
    // falls through to the issue below: URL's own message does not name the form wanted
  }
  context.addIssue({
    code: 'custom',
    message: 'is not a URL such as postgresql://localhost:5432/web_traffic',
  })
  return z.NEVER
})

const count = (fallback: string, most: number) =>
  z
    .string()
    .default(fallback)
    .transform((text, context) => {
      if (/^[1-9]\d*$/.test(text) && Number(text) <= most) return Number(text)
      context.addIssue({ code: 'custom', message: `"${text}" is not a whole number from 1 to ${most}` })
      return z.NEVER
    })

const listenAddress = z.string().transform((text, context): ListenAddress => {
  const [, host, digits] = /^(\[[\da-f:]+\]|[^\s:]+):(\d{1,5})$/i.exec(text) ?? []
  const port = Number(digits)
  if (host !== undefined && port >= 1 && port <= 65_535)
    return { host: host.replace(/^\[(.*)\]$/, '$1'), port }
  context.addIssue({ code: 'custom', message: `"${text}" is not HOST:PORT, such as 0.0.0.0:8081` })
  return z.NEVER
})

const environmentSchema = z.object({
  KAFKA_URL: z.string().default('localhost:9092'),
  KAFKA_TLS: z
    .enum(['true', 'false'], { error: ({ input }) => `"${String(input)}" is not true or false` })
    .default('false')
    .transform(value => value === 'true'),
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
  KAFKA_TOPIC: z.string().default('web_traffic_topic'),
  KAFKA_GROUP: z
    .string()
    .regex(/^[\w.-]{1,200}$/, {
      error: ({ input }) =>
        `"${String(input)}" may hold letters, digits, ".", "_" and "-" only, 200 at most: it begins every workflow id`,
    })
    .default('web_traffic_group'),
  POSTGRES_URL: postgresUrl.default(new URL('postgresql://localhost:5432/')),
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
  MAX_GROUPS: count('250000', 1_000_000),
  FLUSH_INTERVAL: duration('5s', 50),
  POLLERS: count('1', 9_999),
  REFERRER: z
    .enum(['full', 'origin'], { error: ({ input }) => `"${String(input)}" is not full or origin` })
    .default('full'),
  GEO_PROVIDER: z
    .enum(['mmdb', 'ip2location'], {
      error: ({ input }) => `"${String(input)}" is not mmdb or ip2location`,
    })
    .default('mmdb'),
  GEO_DATABASE: z.string().optional(),
  GEO_URL: z
    .url({ protocol: /^https?$/, error: 'is not a URL such as https://api.ip2location.io/' })
    .default('https://api.ip2location.io/'),
  GEO_RATE: count('50', 10_000),
  GEO_ON_ERROR: z
    .enum(['wait', 'unknown'], { error: ({ input }) => `"${String(input)}" is not wait or unknown` })
    .default('wait'),
  IP_CODING_KEY: z.string().optional(),
  TEMPORAL_TASK_QUEUE: z.string().optional(),
  WORKER_BUILD_ID: z.string().optional(),
  HEALTH_ADDRESS: listenAddress.optional(),
  METRICS_ADDRESS: listenAddress.optional(),
})

const kafkaSchema = environmentSchema.pick({
  KAFKA_URL: true,
  KAFKA_TLS: true,
  KAFKA_TLS_CA: true,
  KAFKA_TLS_CERT: true,
  KAFKA_TLS_KEY: true,
  KAFKA_SASL_MECHANISM: true,
  KAFKA_SASL_USERNAME: true,
  KAFKA_SASL_PASSWORD: true,
})

/** Of the configuration what reaches Kafka, for those who need nothing else; see {@link loadConfig}. */
export function loadKafkaConnection(environment: Environment = process.env): KafkaConnection {
  return kafkaConnection(parse(kafkaSchema, environment))
}

function parse<Schema extends z.ZodType>(schema: Schema, environment: Environment): z.infer<Schema> {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
  const result = schema.safeParse(given)
  if (result.success) return result.data
  const mistakes = result.error.issues.map(issue => `${issue.path.join('.')}: ${issue.message}`)
  throw new UserError(`The configuration is not usable: ${mistakes.join('; ')}.`)
}

/** Reads the configuration from the environment; every mistake in it is named in one line. */
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
    ...(env.GEO_PROVIDER === 'ip2location' && { geoService: geoServiceConfig(env) }),
    ...(env.HEALTH_ADDRESS !== undefined && { health: env.HEALTH_ADDRESS }),
    ...(env.METRICS_ADDRESS !== undefined && { metrics: env.METRICS_ADDRESS }),
  }
}

function geoServiceConfig(env: z.infer<typeof environmentSchema>): GeoServiceConfig {
  const { GEO_URL: url, GEO_RATE: rate, GEO_ON_ERROR: onError, IP_CODING_KEY: key } = env
  return { url, rate, onError, ...(key !== undefined && { key }) }
}

function postgresConfig(env: z.infer<typeof environmentSchema>): PostgresConfig {
  const url = env.POSTGRES_URL
  // A JDBC URL carries its credentials as parameters.
  const parameter = (name: string) => url.searchParams.get(name) ?? undefined
  const password = env.POSTGRES_PASSWORD ?? (decodeURIComponent(url.password) || parameter('password'))
  // JDBC's `ssl=true` asks for all that there is.
  const jdbc = parameter('ssl') === 'true' ? 'verify-full' : undefined
  const ssl = postgresTls({
    sslmode: parameter('sslmode') ?? jdbc ?? env.PGSSLMODE,
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
 * Completes the process's environment with what it does not set itself: first the file `stream.env` of the
 * current folder, then the addresses of a running development cluster.
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
  // Empty is unset, also for those who read the environment by themselves.
  for (const [name, value] of Object.entries(process.env))
    if (value === '' && /^(KAFKA|POSTGRES|TEMPORAL)_|^PGSSL/.test(name)) delete process.env[name]
}
