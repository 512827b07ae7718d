import { isNativeError } from 'node:util/types'
import { explainTlsFailure, type TlsRemedies } from '../tls/failures'
import { isUnreachable, PostgresBusyError, PostgresSilentError, type PostgresConfig } from './connection-pool'
import { WrongOwnerError } from './owner'
import { StagedDeltasMissingError } from './staged-deltas'

/** Why Postgres failed, for a person. */
export interface PostgresFailure {
  message: string
  /** Whether a retry cannot help before a person has fixed the cause. */
  permanent: boolean
}

/**
 * SQLSTATE classes (PostgreSQL's manual, appendix A) of failures that a retry meets again: features, data, constraints,
 * authorization, missing database or schema, syntax or access rule.
 */
const PERMANENT_CLASSES = new Set(['0A', '22', '23', '28', '3D', '3F', '42'])

/** @returns undefined if the error does not come from Postgres */
export function postgresFailure(error: unknown, config: PostgresConfig): PostgresFailure | undefined {
  const server = `Postgres at ${config.host}:${config.port}`
  if (isUnreachable(error)) return { message: `${server} is unreachable.`, permanent: false }
  if (error instanceof PostgresBusyError || error instanceof PostgresSilentError)
    return { message: error.message, permanent: false }
  if (error instanceof WrongOwnerError || error instanceof StagedDeltasMissingError)
    return { message: error.message, permanent: true }
  if (!isNativeError(error)) return undefined
  const state = sqlState(error)
  if (state !== undefined) {
    const message = describeState(state, error.message, server, config)
    return { message, permanent: PERMANENT_CLASSES.has(state.slice(0, 2)) }
  }
  const message = explainTlsFailure(server, error.message, TLS_REMEDIES)
  // A certificate can be replaced on the server, so a retry can help.
  return message === undefined ? undefined : { message, permanent: false }
}

function describeState(
  state: string,
  reason: string,
  server: string,
  { user, database }: PostgresConfig,
): string {
  const refused = `${server} refuses user "${user}": check POSTGRES_USER and POSTGRES_PASSWORD.`
  switch (state) {
    case '28000':
      // The wording for a pg_hba.conf with lines only for TLS, or only for clients with a certificate.
      if (reason.includes('no encryption'))
        return `${server} requires TLS: add sslmode=require or stricter to POSTGRES_URL (docs/security.md).`
      if (reason.includes('client certificate'))
        return `${server} requires a client certificate: set sslcert and sslkey in POSTGRES_URL.`
      return refused
    case '28P01':
      return refused
    case '3D000':
      return `${server} has no database "${database}": run "web-traffic migrate".`
    case '42P01':
    case '42703':
    case '42883':
      return (
        `The schema in "${database}" is missing, outdated or changed (${reason}): run "web-traffic migrate", or undo ` +
        'the manual change.'
      )
    case '42501':
      return `User "${user}" lacks a privilege in "${database}" (${reason}): grant it.`
    case '53100':
      return `${server} has no disk space left (${reason}).`
    case '53300':
      return `${server} accepts no more connections (${reason}).`
    case '25P03':
      return `${server} ended a transaction in which this process was silent for too long (${reason}).`
    case '55P03':
      return (
        `${server}: another session holds a lock that is needed here (${reason}). If this goes on, find the session: ` +
        'select * from pg_stat_activity where pid in (select unnest(pg_blocking_pids(pid)) from pg_stat_activity).'
      )
    case '57014':
      return `${server} stopped a statement (${reason}): it is overloaded, or somebody cancelled the statement.`
    case '25006':
      return `${server} is read-only (${reason}).`
    default:
      return `${server} failed: ${reason} (SQLSTATE ${state}).`
  }
}

const TLS_REMEDIES: TlsRemedies = {
  untrusted: 'set sslrootcert in POSTGRES_URL to the file of the authority that signed it',
  otherName: 'use the name it is for in POSTGRES_URL, or sslmode=verify-ca',
  clientCertificate: 'name another one with sslcert and sslkey in POSTGRES_URL',
  noTls: 'turn it on there (ssl = on), or use sslmode=disable in POSTGRES_URL',
}

function sqlState(error: Error & { code?: unknown }): string | undefined {
  const { code } = error
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}
