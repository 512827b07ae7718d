import { existsSync } from 'node:fs'
import { readFile, readlink, realpath, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { UserError } from '../../errors'
import { lastLine, run, type Command } from './command'
import { portOf, type Component, type ClusterContext } from './component'
import { buildFolder } from './install'
import { findPlainUser, type PlainUser } from './plain-user'
import { findPostgresProgram, type PostgresProgram } from './postgres-program'
import { identify, isAlive, signalProcess, type ProcessIdentity } from './process-identity'

const USER = 'postgres'
const PASSWORD = 'postgres'
const DATABASE = 'web_traffic'
const NO_SUCH_DATABASE = '3D000'
const DUPLICATE_DATABASE = '42P04'

/** PostgreSQL with the database `web_traffic`. */
export const postgres: Component = {
  name: 'postgres',
  title: 'PostgreSQL',
  addressVariable: 'POSTGRES_URL',
  externalVariables: /^(POSTGRES_(URL|USER|PASSWORD|DB)|PGSSL(MODE|ROOTCERT|CERT|KEY))$/,
  ports: { main: { purpose: 'PostgreSQL', usual: 5432 } },
  readyWithinMs: 30_000,
  stopSignal: 'SIGINT',
  // The children of a killed server keep its shared memory a moment longer.
  transientFailure: /pre-existing shared memory block/,

  async find(context) {
    const folder = join(context.dir, 'postgres')
    const user = await findPlainUser(context, folder)
    const versionFile = join(folder, 'data', 'PG_VERSION')
    const dataMajor = existsSync(versionFile) ? (await readFile(versionFile, 'utf8')).trim() : undefined
    const program = await findPostgresProgram(context, user, dataMajor)
    return {
      description: program.description,
      prepare: (own, ports) => prepare(program, user, own, portOf(ports, 'main'), context),
    }
  },

  async probe(ports) {
    const port = portOf(ports, 'main')
    try {
      await query(port, DATABASE, 'select 1')
    } catch (error) {
      if ((error as { code?: string }).code !== NO_SUCH_DATABASE) throw error
      await createDatabase(port)
      await query(port, DATABASE, 'select 1')
    }
  },

  variables: ports => ({
    POSTGRES_URL: `postgresql://127.0.0.1:${portOf(ports, 'main')}/${DATABASE}`,
    POSTGRES_USER: USER,
    POSTGRES_PASSWORD: PASSWORD,
    POSTGRES_DB: DATABASE,
  }),
}

async function query(port: number, database: string, sql: string): Promise<void> {
  const client = new Client({
    host: '127.0.0.1',
    port,
    database,
    user: USER,
    password: PASSWORD,
    ssl: false,
    connectionTimeoutMillis: 2000,
    query_timeout: 5000,
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query(sql)
  } finally {
    await client.end()
  }
}

async function createDatabase(port: number): Promise<void> {
  try {
    await query(port, 'postgres', `create database ${DATABASE}`)
  } catch (error) {
    if ((error as { code?: string }).code !== DUPLICATE_DATABASE) throw error
  }
}

async function prepare(
  program: PostgresProgram,
  user: PlainUser,
  folder: string,
  port: number,
  context: ClusterContext,
): Promise<Command> {
  const data = join(folder, 'data')
  await user.own(folder)
  const inherited = Object.entries(context.environment).filter(([name]) => !name.startsWith('PG'))
  const environment = { ...Object.fromEntries(inherited), LC_ALL: 'C' }
  if (existsSync(data)) await clearStalePid(data, context)
  else await initialize(program, user, folder, environment, context.signal)
  const settings = { listen_addresses: '127.0.0.1', port, unix_socket_directories: '' }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  return user.run({ file: program.postgres, args: ['-D', data, ...args], environment, cwd: folder })
}

async function initialize(
  program: PostgresProgram,
  user: PlainUser,
  folder: string,
  environment: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  const passwordFile = join(folder, 'password')
  await writeFile(passwordFile, PASSWORD, { mode: 0o600 })
  await buildFolder(join(folder, 'data'), async draft => {
    await user.own(folder)
    const args = ['-D', draft, '-U', USER, `--pwfile=${passwordFile}`, '-A', 'scram-sha-256']
    args.push('-E', 'UTF8', '--locale=C', '--no-sync')
    const command = user.run({ file: program.initdb, args, environment, cwd: folder })
    const { ok, output } = await run(command, 60_000, signal)
    if (!ok) throw new UserError(`initdb failed: ${lastLine(output)}`)
  })
  await rm(passwordFile)
}

/**
 * Removes the postmaster.pid of a killed server: the next server would refuse to start if another process now has that
 * pid. If a server does use this data, although the state does not list it, stops that server first.
 */
async function clearStalePid(data: string, { report }: ClusterContext): Promise<void> {
  const file = join(data, 'postmaster.pid')
  if (!existsSync(file)) return
  const pid = Number((await readFile(file, 'utf8')).split('\n')[0])
  const holder = Number.isSafeInteger(pid) && pid > 1 ? identify(pid) : undefined
  if (holder !== undefined && (await servesData(holder, data))) {
    report(`PostgreSQL: stopping a leftover server that uses this data (pid ${pid})`)
    signalProcess(holder, 'SIGINT')
    for (let waited = 0; isAlive(holder); waited += 50) {
      if (waited >= 20_000) signalProcess(holder, 'SIGKILL')
      await sleep(50)
    }
  }
  await rm(file, { force: true })
}

async function servesData(holder: ProcessIdentity, data: string): Promise<boolean> {
  if (process.platform !== 'linux') {
    const { output } = await run({ file: 'ps', args: ['-o', 'command=', '-p', String(holder.pid)] }, 5000)
    return output.includes(data)
  }
  // The working folder of a server is its data folder.
  const folder = await readlink(`/proc/${holder.pid}/cwd`).catch(() => undefined)
  return folder === (await realpath(data))
}
