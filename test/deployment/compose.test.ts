import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, test } from '@jest/globals'
import { parse as parseEnvFile } from 'dotenv'
import { run } from '../../src/dev/cluster/command'
import { parseDuration } from '../../src/core/duration'
import { ENDS_WITHIN } from '../../src/workers/roles'
import { loadConfig } from '../../src/config'
import { findDockerCompose, type ComposeProgram } from './docker-compose-program'
import { readComposeFile, ROOT, type Service } from './compose-file'

const { services, volumes } = readComposeFile()
const all = Object.entries(services)
const text = (...path: string[]) => readFileSync(join(ROOT, ...path), 'utf8')
const defaults = parseEnvFile(text('docker', 'defaults.env'))

/** They run once and end; the others run until they are stopped. */
const isJob = ({ restart = '' }: Service) => restart.startsWith('on-failure')

describe.each(all)('the service %s', (_, service) => {
  it('has an image of one version', () => {
    expect(service.image).toMatch(/^[\w./-]+:v?\d+\.\d+(\.\d+)?$/)
  })

  it('has limits', () => {
    const { cpus, memory } = service.deploy?.resources?.limits ?? {}
    expect(Number(cpus)).toBeGreaterThan(0)
    expect(memory).toMatch(/^\d+[MG]$/)
  })

  it('is published on the loopback address only', () => {
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/)
  })

  it('mounts files that are there, which it cannot write, and volumes that are declared', () => {
    for (const mount of service.volumes ?? []) {
      const [source, target, mode] = mount.split(':')
      expect(target).toMatch(/^\//)
      if (source!.startsWith('./')) {
        expect([mount, existsSync(join(ROOT, source!))]).toEqual([mount, true])
        expect(mode).toBe('ro')
      } else expect(Object.keys(volumes)).toContain(source)
    }
  })

  it('runs on after a failure, a job only so often', () => {
    expect(service.restart).toMatch(isJob(service) ? /^on-failure:\d+$/ : /^unless-stopped$/)
  })

  it('waits for jobs that end, and for the health of what has a check of it', () => {
    for (const [name, { condition }] of Object.entries(service.depends_on ?? {})) {
      const other = services[name]!
      expect(condition).toBe(
        isJob(other)
          ? 'service_completed_successfully'
          : other.healthcheck
            ? 'service_healthy'
            : 'service_started',
      )
    }
  })
})

describe('the services together', () => {
  it('have a check of their health, all that others or people wait for', () => {
    for (const [name, service] of all)
      expect([name, service.healthcheck !== undefined]).toEqual([name, !isJob(service) && name !== 'traffic'])
  })

  it('come up in an order: none waits for itself', () => {
    const settled = new Set<string>()
    const visit = (name: string, path: string[]) => {
      expect(path).not.toContain(name)
      if (settled.has(name)) return
      for (const other of Object.keys(services[name]!.depends_on ?? {})) visit(other, [...path, name])
      settled.add(name)
    }
    for (const [name] of all) visit(name, [])
    expect(settled.size).toBe(all.length)
  })

  it('publish no port twice', () => {
    const published = all.flatMap(([, { ports = [] }]) => ports.map(port => port.split(':')[1]))
    expect(published).toEqual([...new Set(published)])
  })

  it('are all there without a profile but the traffic and what watches', () => {
    const profiles = all.flatMap(([name, { profiles = [] }]) =>
      profiles.map(profile => `${profile}: ${name}`),
    )
    expect(profiles).toEqual(['demo: traffic', 'observability: prometheus', 'observability: grafana'])
  })

  it('use the volumes that are declared, each by one service', () => {
    const used = all.flatMap(([, service]) =>
      (service.volumes ?? []).filter(mount => !mount.startsWith('./')).map(mount => mount.split(':')[0]!),
    )
    expect(used.sort()).toEqual(Object.keys(volumes).sort())
  })

  it('run one image of the project, of its version', () => {
    const { version } = JSON.parse(text('package.json')) as { version: string }
    const own = all.filter(([, { build }]) => build !== undefined)
    expect(own.map(([name]) => name)).toEqual(['migrate', 'worker', 'start', 'traffic'])
    for (const [, { image, build }] of own)
      expect({ image, build }).toEqual({ image: `web-traffic:${version}`, build: '.' })
  })

  it('give a worker the time that its draining may take', () => {
    // First the pollers' worker, and after it the workflows'.
    expect(parseDuration(services.worker!.stop_grace_period!)).toBeGreaterThan(
      2 * parseDuration(ENDS_WITHIN)!,
    )
  })

  it('keep the data of Postgres 18 where its image has it', () => {
    for (const name of ['postgres', 'temporal-postgres']) {
      expect(services[name]!.image).toMatch(/^postgres:18\./)
      expect(services[name]!.volumes).toEqual([`${name}:/var/lib/postgresql`])
    }
  })
})

describe('docker/defaults.env', () => {
  it('has variables that the project knows, and a configuration that it takes', () => {
    const example = text('stream.env.example').replace(/^# (?=[A-Z][A-Z_]*=)/gm, '')
    const known = Object.keys(parseEnvFile(example))
    for (const name of Object.keys(defaults)) expect(known).toContain(name)
    expect(loadConfig(defaults)).toMatchObject({
      kafka: { brokers: ['kafka:19092'] },
      postgres: { host: 'postgres', port: 5432, user: 'postgres', database: 'web_traffic' },
    })
  })

  it('names the addresses under which the services reach each other', () => {
    const { environment: kafka } = services.kafka!
    expect(String(kafka!.KAFKA_ADVERTISED_LISTENERS)).toContain(`INTERNAL://${defaults.KAFKA_URL},`)
    expect(defaults.TEMPORAL_ADDRESS).toBe(services['temporal-ui']!.environment!.TEMPORAL_ADDRESS)
    for (const name of ['kafka', 'postgres', 'temporal']) expect(services).toHaveProperty(name)
  })

  it('has a poller for each worker', () => {
    expect(Number(defaults.POLLERS)).toBe(services.worker!.deploy!.replicas)
  })
})

describe('the shell scripts', () => {
  const scripts = ['docker', 'temporal-config'].flatMap(folder =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter(file => file.endsWith('.sh'))
      .map(file => join(ROOT, folder, file)),
  )

  it('are the four that the services run', () => {
    const mounted = all.flatMap(([, { command = [], entrypoint = [] }]) => [...entrypoint, ...command])
    expect(scripts).toHaveLength(4)
    for (const script of scripts)
      expect(mounted.filter(word => word.endsWith(`/${script.split('/').at(-1)!}`))).toHaveLength(1)
  })

  it.each(scripts)('%s is one', async script => {
    for (const shell of ['sh', 'bash'])
      expect(await run({ file: shell, args: ['-n', script] }, 10_000)).toEqual({ ok: true, output: '' })
  })
})

describe('rendered by Docker Compose', () => {
  const folder = mkdtempSync(join(tmpdir(), 'web-traffic-compose-'))
  let compose: ComposeProgram | { reason: string }

  beforeAll(async () => {
    compose = await findDockerCompose()
    for (const path of ['docker-compose.yml', 'docker', 'temporal-config', 'Dockerfile'])
      cpSync(join(ROOT, path), join(folder, path), { recursive: true })
  }, 300_000)
  afterAll(() => rmSync(folder, { recursive: true }))

  /** Undefined, with a word about it, where no Docker Compose can be had. */
  async function render(): Promise<Record<string, { environment?: Record<string, string> }> | undefined> {
    if ('reason' in compose) {
      console.warn(`skipped: no Docker Compose (${compose.reason})`)
      return undefined
    }
    const args = [...compose.args, '--profile', '*', 'config', '--format', 'json']
    const environment = { PATH: process.env.PATH, HOME: folder }
    const { ok, output } = await run({ file: compose.file, args, cwd: folder, environment }, 60_000)
    expect([ok, output]).toEqual([true, expect.stringMatching(/^\{/)])
    return (JSON.parse(output) as { services: Record<string, object> }).services
  }

  test('it is whole without any setting', async () => {
    const rendered = await render()
    if (!rendered) return
    expect(Object.keys(rendered).sort()).toEqual(Object.keys(services).sort())
    expect(rendered.worker!.environment).toEqual({ ...defaults, ...services.worker!.environment })
  })

  test('stream.env stands above the defaults, in every service that is told of them', async () => {
    const settings = { POSTGRES_PASSWORD: 'p$a:"s s', KAFKA_TOPIC: 'shop', WINDOW_SIZE: '1m' }
    const lines = Object.entries(settings).map(([name, value]) => `${name}='${value}'`)
    writeFileSync(join(folder, 'stream.env'), `${lines.join('\n')}\n`)
    const rendered = await render()
    if (!rendered) return
    for (const name of [
      'topic',
      'postgres',
      'pgadmin',
      'temporal-namespace',
      'migrate',
      'worker',
      'start',
      'traffic',
    ]) {
      // A rendered file has each $ twice.
      const environment = JSON.parse(
        JSON.stringify(rendered[name]!.environment).replaceAll('$$', '$'),
      ) as Record<string, string>
      expect([name, environment]).toEqual([name, expect.objectContaining({ ...defaults, ...settings })])
    }
    for (const name of ['kafka', 'temporal', 'temporal-postgres', 'temporal-ui'])
      expect([name, rendered[name]!.environment]).toEqual([name, expect.not.objectContaining(settings)])
  })
})
