import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { UserError } from '../errors'

/** The settings that name the files of a TLS connection, as a person writes them, and their values. */
export type TlsFileSettings = Record<'ca' | 'cert' | 'key', { setting: string; file: string | undefined }>

/** PEM. */
export interface TlsFiles {
  /** The authorities that are trusted, in place of those that come with Node. */
  ca?: string
  /** Of this client, with the key to it. */
  cert?: string
  key?: string
}

/**
 * Reads what the settings name, where they name something.
 *
 * @throws UserError that names the setting where a file cannot be read or is no PEM, and where certificate and key
 *   do not go together
 */
export function readTlsFiles({ ca, cert, key }: TlsFileSettings): TlsFiles {
  if ((cert.file === undefined) !== (key.file === undefined))
    throw new UserError(`A client certificate needs both ${cert.setting} and ${key.setting}.`)
  const files: TlsFiles = {
    ...(ca.file !== undefined && { ca: read(ca.setting, ca.file, isCertificate) }),
    ...(cert.file !== undefined && { cert: read(cert.setting, cert.file, isCertificate) }),
    ...(key.file !== undefined && { key: read(key.setting, key.file) }),
  }
  try {
    createSecureContext(files)
  } catch (error) {
    // OpenSSL's words say where in its code it happened: "error:05800074:x509 certificate routines::key values mismatch".
    const reason = (error as Error).message.split(':').at(-1)!.trim()
    throw new UserError(`${cert.setting} and ${key.setting} are no certificate and its key (${reason}).`)
  }
  return files
}

function read(setting: string, file: string, isUsable: (pem: string) => boolean = () => true): string {
  let pem
  try {
    pem = readFileSync(file, 'utf8')
  } catch (error) {
    throw new UserError(`${setting}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`)
  }
  if (isUsable(pem)) return pem
  throw new UserError(`${setting}: ${file} holds no certificate in PEM format.`)
}

/** Node itself would take anything for a list of authorities, and trust nobody. */
function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem)
    return true
  } catch {
    return false
  }
}
