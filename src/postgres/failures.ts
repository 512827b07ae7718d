import { isNativeError } from 'node:util/types'
import { messageOf } from '../errors'
import { explainTlsFailure, type TlsRemedies } from '../tls/failures'
import { isUnreachable, type PostgresConfig } from './database'
import { WrongOwnerError } from './owner'
import { StagedDeltasMissingError } from './staged-deltas'

/** Why Postgres did not do what it was asked, for a person. */
export interface PostgresFailure {
  message: string
  /** Whether only a person can mend it, so that trying again soon is in vain. */
  permanent: boolean
}

/**
 * SQLSTATE classes (PostgreSQL's manual, appendix A) of failures that are the same at the next try: features, data,
 * constraints, authorization, a database or schema that is not there, syntax or access rule.
 */
const PERMANENT_CLASSES = new Set(['0A', '22', '23', '28', '3D', '3F', '42'])

/** @returns undefined where the failure is not one of Postgres */
export function postgresFailure(
  error: unknown,
  { host, port, user, database }: PostgresConfig,
): PostgresFailure | undefined {
  const where = `${host}:${port}`
  if (isUnreachable(error)) return { message: `No Postgres answers at ${where}.`, permanent: false }
  if (error instanceof WrongOwnerError || error instanceof StagedDeltasMissingError)
    return { message: error.message, permanent: true }
  const state = sqlState(error)
  if (state === undefined) return tlsFailure(error, where)
  const reason = (error as Error).message
  return { message: explain(), permanent: PERMANENT_CLASSES.has(state.slice(0, 2)) }

  function refused(): string {
    return `Postgres at ${where} refuses user "${user}": set POSTGRES_USER and POSTGRES_PASSWORD.`
  }

  function explain(): string {
    switch (state) {
      case '28000':
        // The words of a pg_hba.conf that has lines for TLS only, or for clients with a certificate only.
        if (reason.includes('no encryption'))
          return `Postgres at ${where} lets nobody in without TLS: add sslmode=require or better to POSTGRES_URL (docs/security.md).`
        if (reason.includes('client certificate'))
          return `Postgres at ${where} asks for a client certificate: name it by sslcert and sslkey in POSTGRES_URL.`
        return refused()
      case '28P01':
        return refused()
      case '3D000':
        return `Postgres at ${where} has no database "${database}": run "web-traffic migrate".`
      case '42P01':
      case '42703':
      case '42883':
        return (
          `The schema in "${database}" is missing, old or changed (${reason}): run "web-traffic migrate", or put ` +
          'back what was changed by hand.'
        )
      case '42501':
        return `User "${user}" may not do this in "${database}" (${reason}): grant it.`
      case '53100':
        return `Postgres at ${where} has no room left on its disk (${reason}).`
      case '53300':
        return `Postgres at ${where} takes no more connections (${reason}).`
      case '25006':
        return `Postgres at ${where} is read-only (${reason}).`
      default:
        return `Postgres at ${where} fails: ${reason} (SQLSTATE ${state}).`
    }
  }
}

const TLS_REMEDIES: TlsRemedies = {
  untrusted: 'set sslrootcert in POSTGRES_URL to the file of the authority that signed it',
  otherName: 'use the name it is for in POSTGRES_URL, or sslmode=verify-ca',
  clientCertificate: 'name another one with sslcert and sslkey in POSTGRES_URL',
  noTls: 'turn it on there (ssl = on), or use sslmode=disable in POSTGRES_URL',
}

/** Transient, because a certificate can be replaced on the server. */
function tlsFailure(error: unknown, where: string): PostgresFailure | undefined {
  const message = explainTlsFailure(`Postgres at ${where}`, messageOf(error), TLS_REMEDIES)
  return message === undefined ? undefined : { message, permanent: false }
}

function sqlState(error: unknown): string | undefined {
  const code = isNativeError(error) ? (error as Error & { code?: unknown }).code : undefined
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}
