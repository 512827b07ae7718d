import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from '@jest/globals'
import { anyFreePort } from '../../src/dev/cluster/ports'
import { TestPipeline } from '../support/pipeline'
import { Collector } from './collector'

const T0 = Math.floor(Date.now() / 2_000) * 2_000 - 60_000
const events = (n: number) =>
  Array.from({ length: n }, (_, i) => ({
    partition: 0,
    value: JSON.stringify({ event_time: T0 + i, host: 'a.example', ip: '8.8.8.8' }),
  }))

let pipeline: TestPipeline

async function run(settings: Record<string, string>) {
  pipeline = new TestPipeline({ WINDOW_SIZE: '2s', WATERMARK_DELAY: '0s', ...settings })
  await pipeline.migrate()
  await pipeline.createTopic(1)
  const began = Date.now()
  const started = await pipeline.attempt('start')
  const took = Date.now() - began
  const worker = pipeline.startWorker()
  for (let sent = 0; sent < 150; sent += 50) {
    await pipeline.send(events(50))
    await pipeline.untilDone(sent + 50)
  }
  await pipeline.untilAccounted(150)
  return { started, took, worker }
}

afterEach(() => pipeline.destroy())

const warnings = (text: string) =>
  text.split('\n').filter(line => line.includes('Traces cannot be delivered'))

describe('a collector that is down', () => {
  test('is logged once, and the pipeline runs and stops normally', async () => {
    const endpoint = `http://user:secret@127.0.0.1:${await anyFreePort()}`
    const { started, took, worker } = await run({
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      OTEL_EXPORTER_OTLP_TIMEOUT: '500',
      OTEL_BSP_SCHEDULE_DELAY: '100',
    })
    expect(started.code).toBe(0)
    expect(started.stdout).toContain('Started')
    expect(warnings(started.stderr)).toHaveLength(1)
    expect(took).toBeLessThan(15_000)
    await pipeline.untilLogged('Traces cannot be delivered')
    expect(await pipeline.stopWorker(worker)).toBe(0)
    expect(warnings(pipeline.logged)).toHaveLength(1)
    expect(pipeline.logged + started.stderr).not.toContain('secret')
  }, 120_000)

  test('delays the exit by two seconds at most if it never answers', async () => {
    const sockets: Socket[] = []
    const silent = createServer(socket => sockets.push(socket.on('error', () => undefined)))
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const { started, worker } = await run({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` })
    expect(warnings(started.stderr)).toHaveLength(1)
    const before = Date.now()
    expect(await pipeline.stopWorker(worker)).toBe(0)
    expect(Date.now() - before).toBeLessThan(15_000)
    expect(sockets.length).toBeGreaterThan(1)
    expect(warnings(pipeline.logged)).toHaveLength(1)
    for (const socket of sockets) socket.destroy()
    silent.close()
  }, 120_000)
})

describe('an unusable setting', () => {
  test.each([
    [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, 'No traces: OTEL_EXPORTER_OTLP_PROTOCOL is \\"grpc\\"'],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'user:secret@collector' },
      'No traces: OTEL_EXPORTER_OTLP_ENDPOINT is not',
    ],
    [{ OTEL_TRACES_SAMPLER: 'sometimes' }, 'OTEL_TRACES_SAMPLER value \\"sometimes\\" invalid'],
  ])('%j is logged in one line, and the command works', async (settings, line) => {
    const collector = new Collector()
    pipeline = new TestPipeline()
    const given = {
      OTEL_EXPORTER_OTLP_ENDPOINT: await collector.start(),
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    }
    const { stdout, stderr, code } = await pipeline.attemptWith({ ...given, ...settings }, 'retry')
    await collector.stop()
    expect({ stdout, code }).toEqual({ stdout: 'Nothing is waiting for Postgres.\n', code: 0 })
    expect(stderr.trim().split('\n')).toEqual([expect.stringContaining(line)])
    expect(stderr).not.toContain('secret')
  })
})

describe('OpenTelemetry', () => {
  const folder = mkdtempSync(join(tmpdir(), 'loaded-'))

  /** The modules that a worker and its threads loaded while it ran a pipeline. */
  async function loadedBy(settings: Record<string, string>, to: string): Promise<string[]> {
    const LOADED_MODULES = join(folder, to)
    const NODE_OPTIONS = `--require ${join(__dirname, 'loaded-modules.js')}`
    const { worker } = await run({ ...settings, LOADED_MODULES, NODE_OPTIONS })
    expect(await pipeline.stopWorker(worker)).toBe(0)
    const modules = readFileSync(LOADED_MODULES, 'utf8').split('\n')
    expect(modules.some(module => module.includes('@temporalio'))).toBe(true)
    return modules.filter(module => module.includes('@opentelemetry'))
  }

  test('is loaded only if traces are configured', async () => {
    expect(await loadedBy({}, 'without')).toEqual([])
    const endpoint = `http://127.0.0.1:${await anyFreePort()}`
    await pipeline.destroy()
    expect(await loadedBy({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, 'with')).not.toEqual([])
    await pipeline.destroy()
    const disabled = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: 'true' }
    expect(await loadedBy(disabled, 'disabled')).toEqual([])
    rmSync(folder, { recursive: true })
  }, 180_000)
})
