import { existsSync, readFileSync } from 'node:fs'
import { parse as parseEnvFile } from 'dotenv'
import type { z } from 'zod'
import { UserError } from './errors'
import type { PipelineSettings } from './core/settings'
import { environmentSchema, kafkaSchema } from './environment'
import { postgresTls } from './postgres/tls'
import { kafkaConnection, type KafkaConnection } from './kafka/connection'
import type { PostgresConfig } from './postgres/connection-pool'
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

type Environment = Record<string, string | undefined>

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
