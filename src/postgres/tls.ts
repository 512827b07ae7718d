import type { ConnectionOptions } from 'node:tls'
import { UserError } from '../errors'
import { readTlsFiles } from '../tls/files'

/** libpq's parameters, as in a URL. In the environment they are in capitals and start with PG. */
export const TLS_PARAMETERS = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey'] as const

export type PostgresTls = Partial<Record<(typeof TLS_PARAMETERS)[number], string | undefined>>

/**
 * Translates libpq's modes (PostgreSQL's manual, "SSL Support") for node-postgres: `require` encrypts, and checks the
 * server's certificate only if `sslrootcert` is set; `verify-ca` requires a certificate of that authority; `verify-full`
 * also requires it to be for the server's name. `allow` and `prefer` are refused: node-postgres cannot fall back.
 *
 * @returns false for no TLS; undefined, which also means no TLS, if no mode is set
 * @throws UserError that names the parameter
 */
export function postgresTls({
  sslmode,
  sslrootcert,
  sslcert,
  sslkey,
}: PostgresTls): ConnectionOptions | false | undefined {
  if (sslmode === undefined || sslmode === 'disable') {
    const [unused] =
      Object.entries({ sslrootcert, sslcert, sslkey }).find(([, file]) => file !== undefined) ?? []
    if (unused && sslmode === undefined) throw new UserError(`POSTGRES_URL: ${unused} needs an sslmode.`)
    return sslmode && false
  }
  // Undefined means the authorities that come with Node.
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
      // Anyone can get a certificate from one of the authorities that come with Node.
      if (ca === undefined)
        throw new UserError(
          'POSTGRES_URL: sslmode=verify-ca needs sslrootcert, the certificate file of the authority.',
        )
      return { ...files(), ...ANY_NAME }
    case 'verify-full':
      return files()
    default:
      throw new UserError(
        `POSTGRES_URL: sslmode "${sslmode}" is not supported: use disable, require, verify-ca or verify-full.`,
      )
  }
}

const ANY_NAME = { checkServerIdentity: () => undefined }
