import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { findOnPath } from '../../src/dev/cluster/command'
import { endProcess } from '../../src/dev/cluster/end-process'
import { packageRoot } from '../../src/package-root'
import { anyFreePort } from '../../src/dev/cluster/ports'
import { until } from './until'

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

/** A Prometheus with the shipped rules, which scrapes these workers every second. */
export class PrometheusServer {
  private readonly folder = mkdtempSync(join(tmpdir(), 'web-traffic-prometheus-'))
  private process: ChildProcess | undefined
  private url = ''

  constructor(private readonly programs: PrometheusPrograms) {}

  async start(workers: string[]): Promise<void> {
    const shipped = join(packageRoot(), 'docker', 'prometheus')
    const config = parse(readFileSync(join(shipped, 'prometheus.yml'), 'utf8')) as {
      scrape_configs: { job_name: string; dns_sd_configs?: unknown }[]
    }
    const job = config.scrape_configs.find(({ dns_sd_configs }) => dns_sd_configs !== undefined)!
    const file = join(this.folder, 'prometheus.yml')
    writeFileSync(
      file,
      stringify({
        global: { scrape_interval: '1s', evaluation_interval: '1s' },
        rule_files: [join(shipped, 'alerts.yml')],
        scrape_configs: [{ job_name: job.job_name, static_configs: [{ targets: workers }] }],
      }),
    )
    const address = `127.0.0.1:${await anyFreePort()}`
    this.url = `http://${address}`
    const data = join(this.folder, 'data')
    const args = [`--config.file=${file}`, `--storage.tsdb.path=${data}`, `--web.listen-address=${address}`]
    this.process = spawn(this.programs.prometheus, args, { stdio: 'ignore' })
    await until(
      () =>
        fetch(`${this.url}/-/ready`).then(
          ({ ok }) => ok,
          () => false,
        ),
      30_000,
    )
  }

  /** The values of an instant query; throws what Prometheus says where it does not understand it. */
  async query(expr: string): Promise<number[]> {
    const response = await fetch(`${this.url}/api/v1/query`, {
      method: 'POST',
      body: new URLSearchParams({ query: expr }),
    })
    const answer = (await response.json()) as {
      error?: string
      data?: { result: { value: [number, string] }[] }
    }
    if (!answer.data) throw new Error(`${expr}: ${answer.error}`)
    return answer.data.result.map(({ value: [, value] }) => Number(value))
  }

  /** Names of the alerts whose condition holds, with what their rule's evaluation failed with, if it did. */
  async alerts(): Promise<{ active: string[]; errors: string[] }> {
    const response = await fetch(`${this.url}/api/v1/rules`)
    const { data } = (await response.json()) as {
      data: { groups: { rules: { name: string; state: string; lastError?: string }[] }[] }
    }
    const rules = data.groups.flatMap(group => group.rules)
    const active = rules.filter(({ state }) => state !== 'inactive').map(({ name }) => name)
    return { active, errors: rules.flatMap(({ lastError }) => lastError ?? []) }
  }

  async stop(): Promise<void> {
    if (this.process) await endProcess(this.process, child => child.kill('SIGTERM'), 10_000)
    rmSync(this.folder, { recursive: true, force: true })
  }
}
