import type { ConnectionOptions } from 'node:tls'
import { isNativeError } from 'node:util/types'
import { PostgresDialect, type PostgresPoolClient } from 'kysely'
import { Pool, types, type PoolClient, type QueryResult } from 'pg'
import { formatDuration } from '../core/duration'

export interface PostgresConfig {
  host: string
  port: number
  database: string
  user: string
  password?: string
  /** Undefined or false for an unencrypted connection. */
  ssl?: ConnectionOptions | false
}

/** Milliseconds. All but `answer` are kept by the server, in transactions. */
export interface Limits {
  /** For one statement. */
  statement: number
  /** For the answer to a query, in a transaction or not. Then the connection is cut. More than `statement`. */
  answer: number
  /** For the wait for a lock. */
  lock: number
  /** Between two statements. The server then ends the session, so a dead client holds no lock. */
  idle: number
}

/** For the steps of a window: shorter than the two minutes that Temporal gives them. */
export const WRITE_LIMITS: Limits = { statement: 60_000, answer: 75_000, lock: 20_000, idle: 60_000 }
/** For work that reads or writes much: maintenance, counting again, commands. */
export const LONG_LIMITS: Limits = { ...WRITE_LIMITS, statement: 30 * 60_000, answer: 31 * 60_000 }

const CONNECTS_WITHIN = 5_000
const ENDS_WITHIN = 5_000
/** A connection whose peer has vanished is noticed after this and ten more seconds, if nothing is being sent. */
const KEEP_ALIVE_AFTER = 10_000

const NETWORK_ERRORS = new Set(['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNRESET'])

/** No connection could be made. The message names the address, since the Web UI shows it. */
export class PostgresUnreachableError extends Error {
  override name = 'PostgresUnreachableError'

  constructor({ host, port }: PostgresConfig, cause: unknown) {
    super(`Postgres at ${host}:${port} is unreachable.`, { cause })
  }
}

/** All connections of a pool were in use for too long. */
export class PostgresBusyError extends Error {
  override name = 'PostgresBusyError'

  constructor({ host, port }: PostgresConfig, connections: number, cause: unknown) {
    super(
      `All ${connections} connections of this process to Postgres at ${host}:${port} have been in use for ` +
        `${formatDuration(CONNECTS_WITHIN)}: its statements wait or take long.`,
      { cause },
    )
  }
}

/** A query got no answer, so its connection was cut. */
export class PostgresSilentError extends Error {
  override name = 'PostgresSilentError'

  constructor({ host, port }: PostgresConfig, after: number) {
    super(
      `Postgres at ${host}:${port} has not answered a query for ${formatDuration(after)}; the connection was cut. ` +
        'If it answers others, check the network or the proxy in between.',
    )
  }
}

/** Whether the server could not be reached, or the connection was lost. */
export function isUnreachable(error: unknown): boolean {
  if (!isNativeError(error)) return false
  const { code } = error as Error & { code?: string }
  return (
    (code !== undefined && NETWORK_ERRORS.has(code)) ||
    error instanceof PostgresUnreachableError ||
    error.message.includes('Connection terminated')
  )
}

/** What a connection is bound to while it is held. */
export interface Bounds {
  /** None if undefined. */
  limits?: Limits
  /** When it aborts, the connection is cut. */
  signal?: AbortSignal
}

/** Connects lazily, with the first query. A connection that was cut is not used again. */
export class ConnectionPool {
  private readonly pool: Pool
  private readonly clients = new Set<PoolClient>()

  constructor(
    private readonly postgres: PostgresConfig,
    private readonly maxConnections: number,
  ) {
    this.pool = new Pool({
      ...postgres,
      max: maxConnections,
      connectionTimeoutMillis: CONNECTS_WITHIN,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER,
      application_name: 'web-traffic',
      types: { getTypeParser: typeParser },
    })
    // Without these handlers a connection that the server cuts, idle or in use, would end the process.
    this.pool.on('error', () => undefined)
    this.pool.on('connect', client => {
      client.on('error', () => undefined)
      this.clients.add(client)
    })
    this.pool.on('remove', client => this.clients.delete(client))
  }

  dialect(bounds: Bounds): PostgresDialect {
    return new PostgresDialect({
      pool: { connect: () => this.connect(bounds), end: () => this.end() },
    })
  }

  private async connect({ limits, signal }: Bounds): Promise<PostgresPoolClient> {
    signal?.throwIfAborted()
    try {
      const held = new HeldConnection(await this.pool.connect(), this.postgres, limits, signal)
      // Without the cursors of Kysely's interface, for which it would need pg-cursor.
      return held as unknown as PostgresPoolClient
    } catch (error) {
      if (isUnreachable(error)) throw new PostgresUnreachableError(this.postgres, error)
      if (isNativeError(error) && error.message === 'timeout exceeded when trying to connect')
        throw new PostgresBusyError(this.postgres, this.maxConnections, error)
      throw error
    }
  }

  /** A dead connection does not take part in closing. */
  async end(): Promise<void> {
    const timer = setTimeout(() => {
      for (const client of this.clients) cut(client)
    }, ENDS_WITHIN)
    try {
      await this.pool.end()
    } finally {
      clearTimeout(timer)
    }
  }
}

/** A connection from when it leaves the pool until it returns. */
class HeldConnection {
  /** Why it cannot be used again. */
  private reason: Error | undefined
  private readonly onAbort = () => this.cut(this.signal!.reason as Error)

  constructor(
    private readonly client: PoolClient,
    private readonly postgres: PostgresConfig,
    private readonly limits: Limits | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {
    signal?.addEventListener('abort', this.onAbort, { once: true })
  }

  async query(statement: string, parameters: readonly unknown[]): Promise<QueryResult> {
    if (this.reason) throw this.reason
    const { limits } = this
    const timer = limits && setTimeout(() => this.stopWaiting(limits), limits.answer)
    try {
      const isStart = limits && /^(begin|start transaction)/.test(statement)
      return await this.client.query(isStart ? statement + settingsOf(limits) : statement, [...parameters])
    } catch (error) {
      // Else the rollback that follows would fail with an error of its own, which says less.
      if (isUnreachable(error)) this.reason ??= error as Error
      throw this.reason ?? error
    } finally {
      clearTimeout(timer)
    }
  }

  release(): void {
    this.signal?.removeEventListener('abort', this.onAbort)
    this.client.release(this.reason)
  }

  private stopWaiting({ answer }: Limits): void {
    this.cut(new PostgresSilentError(this.postgres, answer))
  }

  private cut(reason: Error): void {
    this.reason = reason
    cut(this.client)
  }
}

/**
 * Sent with the statement that starts a transaction, so they cost no round trip, and a pooler like pgbouncer applies them
 * to the right server connection. `tcp_user_timeout` ends the session of a client that no longer takes its rows.
 */
const settingsOf = ({ statement, lock, idle }: Limits) =>
  `; set local statement_timeout = ${statement}; set local lock_timeout = ${lock}` +
  `; set local idle_in_transaction_session_timeout = ${idle}; set local tcp_user_timeout = ${idle}`

/** Closes the socket; the server rolls back what it was doing. pg's type does not show the socket. */
function cut(client: PoolClient): void {
  const { connection } = client as unknown as { connection: { stream: { destroy(): void } } }
  connection.stream.destroy()
}

/** Parses int8 to a number: counts and offsets stay below 2^53. */
const typeParser: typeof types.getTypeParser = ((oid: number, format?: 'text' | 'binary') =>
  oid === Number(types.builtins.INT8) ? Number : (types.getTypeParser(oid, format) as unknown)) as never
