import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { run } from '../../src/dev/cluster/command'
import { findPlainUser } from '../../src/dev/cluster/plain-user'
import { PortReservations } from '../../src/dev/cluster/ports'
import { findPostgresProgram } from '../../src/dev/cluster/postgres-program'
import { AttendedServer, surroundings } from './attended-server'
import type { Authority } from './certificates'

/** Lets in by TLS alone: everybody with a password, and the user `certified` with a client certificate besides. */
const WHO_MAY = `
hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostssl all all 127.0.0.1/32 scram-sha-256
`

/** A PostgreSQL that lets nobody in without TLS; its superuser is `postgres`. */
export class SecurePostgres {
  private constructor(
    private readonly server: AttendedServer,
    readonly port: number,
  ) {}

  static async start(authority: Authority, password: string): Promise<SecurePostgres> {
    const folder = mkdtempSync(join(tmpdir(), 'web-traffic-postgres-'))
    const around = surroundings(folder)
    const own = join(folder, 'server')
    const user = await findPlainUser(around, own)
    const program = await findPostgresProgram(around, user, undefined)
    await user.own(own)
    const file = (name: string) => join(own, name)
    const { cert, key } = await authority.issue('postgres')
    for (const [source, name] of [
      [cert, 'cert.pem'],
      [key, 'key.pem'],
      [authority.file, 'authority.pem'],
    ] as const)
      copyFileSync(source, file(name))
    writeFileSync(file('hba'), WHO_MAY)
    writeFileSync(file('password'), password)
    await user.own(own)
    const environment = { ...process.env, LC_ALL: 'C' }
    const setUp = [
      '-D',
      file('data'),
      '-U',
      'postgres',
      `--pwfile=${file('password')}`,
      '--no-sync',
      '-E',
      'UTF8',
    ]
    const made = await run(user.run({ file: program.initdb, args: setUp, environment, cwd: own }), 60_000)
    if (!made.ok) throw new Error(made.output)
    const reservations = new PortReservations()
    const port = await reservations.choose({ purpose: 'PostgreSQL' }, () => undefined)
    const settings = {
      listen_addresses: '127.0.0.1',
      port,
      unix_socket_directories: '',
      fsync: 'off',
      hba_file: file('hba'),
      ssl: 'on',
      ssl_cert_file: file('cert.pem'),
      ssl_key_file: file('key.pem'),
      ssl_ca_file: file('authority.pem'),
    }
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const command = user.run({
      file: program.postgres,
      args: ['-D', file('data'), ...args],
      environment,
      cwd: own,
    })
    const server = new AttendedServer('PostgreSQL', command, folder, 'SIGINT')
    const postgres = new SecurePostgres(server, port)
    await server.untilReady(() =>
      postgres.query(password, `create role certified login password '${password}'`),
    )
    reservations.release()
    return postgres
  }

  private async query(password: string, statement: string): Promise<void> {
    const ssl = { rejectUnauthorized: false }
    const client = new Client({ host: '127.0.0.1', port: this.port, user: 'postgres', password, ssl })
    client.on('error', () => undefined)
    await client.connect()
    try {
      await client.query(statement)
    } finally {
      await client.end()
    }
  }

  end(): Promise<void> {
    return this.server.end()
  }
}
