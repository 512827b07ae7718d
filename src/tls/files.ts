import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { UserError } from '../errors'

/** The names of the settings, as in error messages, and the files they name. */
export type TlsFileSettings = Record<'ca' | 'cert' | 'key', { setting: string; file: string | undefined }>

export interface TlsFiles {
  /** Trusted authorities, which replace Node's own. */
  ca?: string
  cert?: string
  key?: string
}

/**
 * Reads the files that the settings name.
 *
 * @throws UserError that names the setting if a file cannot be read or is not PEM, or if the certificate and key do
 *   not match
 */
export function readTlsFiles({ ca, cert, key }: TlsFileSettings): TlsFiles {
  if ((cert.file === undefined) !== (key.file === undefined))
    throw new UserError(`A client certificate needs both ${cert.setting} and ${key.setting}.`)
  const files: TlsFiles = {
    ...(ca.file !== undefined && { ca: readCertificate(ca.setting, ca.file) }),
    ...(cert.file !== undefined && { cert: readCertificate(cert.setting, cert.file) }),
    ...(key.file !== undefined && { key: read(key.setting, key.file) }),
  }
  try {
    createSecureContext(files)
  } catch (error) {
    // OpenSSL puts its source location first: "error:05800074:x509 certificate routines::key values mismatch".
    const reason = (error as Error).message.split(':').at(-1)!.trim()
    throw new UserError(`${cert.setting} and ${key.setting} are not a certificate and its key (${reason}).`)
  }
  return files
}

function read(setting: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UserError(`${setting}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`)
  }
}

/** Checked here because Node accepts any text as a list of authorities, and then trusts none. */
function readCertificate(setting: string, file: string): string {
  const pem = read(setting, file)
  try {
    new X509Certificate(pem)
    return pem
  } catch {
    throw new UserError(`${setting}: ${file} contains no certificate in PEM format.`)
  }
}
