import type { ConnectionOptions } from 'node:tls'
import { UserError } from '../errors'
import { readTlsFiles } from '../tls/files'

/** As libpq names them, in a URL or, in capitals and with PG before, in the environment. */
export const TLS_PARAMETERS = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey'] as const

export type PostgresTls = Partial<Record<(typeof TLS_PARAMETERS)[number], string | undefined>>

/**
 * What node-postgres is to do for the modes of libpq (PostgreSQL's manual, "SSL Support"): `require` encrypts, and looks
 * at the server's certificate only where `sslrootcert` names the authority; `verify-ca` wants it signed by that one;
 * `verify-full` wants it to be for the server's name too. node-postgres cannot fall back, so that `allow` and `prefer`
 * are refused.
 *
 * @returns false for no TLS; undefined where no mode is given, which means no TLS too
 * @throws UserError that names the parameter
 */
export function postgresTls({
  sslmode,
  sslrootcert,
  sslcert,
  sslkey,
}: PostgresTls): ConnectionOptions | false | undefined {
  if (sslmode === undefined || sslmode === 'disable') {
    const of = Object.entries({ sslrootcert, sslcert, sslkey }).find(([, file]) => file !== undefined)
    if (of && sslmode === undefined)
      throw new UserError(`POSTGRES_URL: ${of[0]} is given without an sslmode.`)
    return sslmode && false
  }
  // The authorities that Node knows, as libpq asks the system for those that it knows.
  const ca = sslrootcert === 'system' ? undefined : sslrootcert
  const files = () =>
    readTlsFiles({
      ca: { setting: 'sslrootcert (PGSSLROOTCERT)', file: ca },
      cert: { setting: 'sslcert (PGSSLCERT)', file: sslcert },
      key: { setting: 'sslkey (PGSSLKEY)', file: sslkey },
    })
  switch (sslmode) {
    case 'require':
      return ca === undefined ? { ...files(), rejectUnauthorized: false } : { ...files(), ...ANY_NAME }
    case 'verify-ca':
      // Anybody has a certificate of some authority that Node knows.
      if (ca === undefined)
        throw new UserError('POSTGRES_URL: sslmode=verify-ca needs sslrootcert, the file of the authority.')
      return { ...files(), ...ANY_NAME }
    case 'verify-full':
      return files()
    default:
      throw new UserError(
        `POSTGRES_URL: "${sslmode}" is no sslmode to use here: disable, require, verify-ca or verify-full.`,
      )
  }
}

const ANY_NAME = { checkServerIdentity: () => undefined }
