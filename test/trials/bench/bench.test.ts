import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import type { OpenWindowsResult } from '../../../trials/bench/open-windows'
import type { Live } from '../../../trials/bench/live'
import type { Benchmark } from '../../../trials/bench/loads'
import { chart, table } from '../../../trials/bench/loads-report'

const run = promisify(execFile)

/** Runs the benchmark as `make bench` does. */
async function bench<T>(...args: string[]): Promise<T> {
  const { stdout } = await run(process.execPath, [
    join('dist', 'trials', 'bench', 'main.js'),
    ...args,
    '--json',
  ])
  return JSON.parse(stdout) as T
}

test('a load is measured, compared with kafkajs alone, and checked against an independent count', async () => {
  const benchmark = await bench<Benchmark>('load', '--events', '60000', '--windows', '3', '--workers', '1,2')
  const { baselines, loads } = benchmark
  expect(benchmark).toMatchObject({ events: 60_000, partitions: 4 })
  for (const baseline of [baselines.raw, baselines.parse]) {
    expect(baseline.events).toBe(60_000)
    expect(baseline.cpuSeconds).toBeGreaterThan(0)
  }
  expect(loads.map(({ workers, events, problems }) => ({ workers, events, problems }))).toEqual([
    { workers: 1, events: 60_000, problems: [] },
    { workers: 2, events: 60_000, problems: [] },
  ])
  for (const { secondsToAccepted, secondsToVisible, cpu, peakMB, residentMB, windows, perWindow } of loads) {
    expect(residentMB.late).toBeGreaterThan(50)
    expect(residentMB.late).toBeLessThanOrEqual(peakMB)
    expect(secondsToAccepted).toBeGreaterThan(0)
    expect(secondsToVisible).toBeGreaterThan(secondsToAccepted)
    expect(Math.min(...Object.values(cpu))).toBeGreaterThan(0)
    expect(peakMB).toBeGreaterThan(50)
    // Because of the disorder some events are in the window before the first.
    expect(windows).toBe(4)
    expect(perWindow.messages).toBeGreaterThanOrEqual(2)
    expect(perWindow.historyBytes).toBeGreaterThan(10_000)
  }
  expect(table(benchmark)).toContain('pipeline, 2 workers')
  expect(chart(benchmark)).toContain('pipeline, 1 worker')
}, 300_000)

test('live traffic is measured from when a window is due until its row is visible', async () => {
  const [live] = await bench<Live[]>(
    'live',
    '--rates',
    '100',
    '--windows',
    '2',
    '--size',
    '2s',
    '--flush',
    '1s',
  )
  expect(live).toMatchObject({ rate: 100, windows: 2 })
  // Four windows to warm up and two to measure, each of two seconds.
  expect(live!.events).toBeGreaterThan(100 * 8)
  expect(live!.latency.median).toBeGreaterThan(0)
  expect(live!.actions['window: signal']).toBeGreaterThan(1)
  expect(live!.actions['window: activity']).toBeGreaterThanOrEqual(2)
}, 300_000)

test('windows that a silent partition keeps open close together and are exact', async () => {
  const measured = await bench<OpenWindowsResult>('open-windows', '--windows', '50', '--events', '5000')
  // Because of the disorder some events are in the window before the first.
  expect(measured).toMatchObject({ events: 5_000, windows: 51, problems: [] })
  expect(measured.secondsToOpen).toBeGreaterThan(0)
  expect(measured.secondsToClose).toBeGreaterThan(0)
}, 300_000)
