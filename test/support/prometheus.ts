import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { findOnPath } from '../../src/cluster/command'
import { packageRoot } from '../../src/cluster/install'

const CACHE = join(packageRoot(), 'node_modules', '.cache', 'web-traffic')
const PACKAGE = join(CACHE, 'prometheus-debian')
const TIMEOUT = 120_000

export interface PrometheusPrograms {
  prometheus: string
  promtool: string
}

/**
 * Prometheus and its promtool: those on the PATH, or those of Debian's package, which is unpacked beside the project's
 * other programs and not installed. Where neither can be had, why not.
 */
export function findPrometheus(): PrometheusPrograms | { reason: string } {
  const [prometheus, promtool] = ['prometheus', 'promtool'].map(name => findOnPath(name, process.env))
  if (prometheus !== undefined && promtool !== undefined) return { prometheus, promtool }
  try {
    if (!existsSync(PACKAGE)) unpackFromDebian()
  } catch (error) {
    const reason = (error as Error).message.trim().split('\n').at(-1)
    return { reason: `no prometheus on the PATH, and not from Debian either (${reason})` }
  }
  const programs = join(PACKAGE, 'usr', 'bin')
  return { prometheus: join(programs, 'prometheus'), promtool: join(programs, 'promtool') }
}

function unpackFromDebian(): void {
  mkdirSync(CACHE, { recursive: true })
  const draft = mkdtempSync(join(CACHE, '.prometheus-'))
  try {
    download(draft)
    execFileSync('sh', ['-c', 'dpkg-deb -x prometheus_*.deb unpacked'], { cwd: draft, timeout: TIMEOUT })
    // Whoever was faster has the same.
    if (!existsSync(PACKAGE)) renameSync(join(draft, 'unpacked'), PACKAGE)
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

/** With the system's lists of packages, or where it has none, with lists of our own. Neither needs root. */
function download(folder: string): void {
  const apt = (...args: string[]) =>
    execFileSync('apt-get', args, { cwd: folder, timeout: TIMEOUT, stdio: ['ignore', 'ignore', 'pipe'] })
  try {
    apt('download', 'prometheus')
  } catch {
    const state = join(folder, 'state')
    mkdirSync(join(state, 'lists', 'partial'), { recursive: true })
    const own = ['-o', `Dir::State=${state}`, '-o', 'Dir::State::status=/var/lib/dpkg/status']
    own.push('-o', `Dir::Cache=${join(folder, 'cache')}`)
    apt(...own, 'update')
    apt(...own, 'download', 'prometheus')
  }
}
