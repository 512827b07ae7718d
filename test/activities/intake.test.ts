import { expect, test } from '@jest/globals'
import { Intake } from '../../src/activities/intake'
import { PartitionLag } from '../../src/activities/partition-lag'
import { PollerState } from '../../src/core/window/poller-state'
import type { LogRecord } from '../../src/core/event/log-record'
import type { BatchLookup } from '../../src/geo/lookup'
import { PollerMetrics } from '../../src/telemetry/poller-metrics'
import { record, rules, T0 } from '../core/support'
import { MemoryMeter } from '../telemetry/memory-meter'

/** Each record has its own address. */
const records = Array.from({ length: 1_000 }, (_, i) => record(i, { at: T0, ip: `DE${i}` }))

function busyFor(milliseconds: number): void {
  const end = performance.now() + milliseconds
  while (performance.now() < end);
}

/** Consumes the records as one fetch. Returns how many had been read at each heartbeat. */
async function take(locate: (ip: string) => string, service?: BatchLookup) {
  const state = new PollerState(1, { ...rules, locate })
  state.assign([{ partition: 0, epoch: 1, position: 0, basis: null, announcedTo: null }], new Map())
  const intake = new Intake({
    settings: rules,
    state,
    lag: new PartitionLag(),
    metrics: new PollerMetrics(new MemoryMeter()),
    service,
    flushSoon: () => undefined,
    onGap: () => expect(true).toBe(false),
    onError: (error: Error) => {
      throw error
    },
  })
  const { length } = records
  const fetch = { partition: 0, fetchedFrom: 0, next: length, removed: [], high: length, length }
  const beats: number[] = []
  await intake.consume({ ...fetch, record: index => records[index]! }, () => {
    beats.push(intake.taken)
    return Promise.resolve()
  })
  expect(intake.taken).toBe(length)
  expect(state.reader(0)!.position).toBe(length)
  return beats
}

test('slow records let other work run after a few of them', async () => {
  const beats = await take(ip => {
    busyFor(1)
    return ip.slice(0, 2)
  })
  const turns = beats.map((taken, i) => taken - (beats[i - 1] ?? 0))
  expect(Math.max(...turns)).toBeLessThanOrEqual(100)
  expect(beats.length).toBeGreaterThanOrEqual(10)
})

test('other work runs while addresses are collected, and all are looked up together', async () => {
  const known = new Set<string>()
  const asked: number[] = []
  const addressOf = ({ value }: LogRecord) =>
    (JSON.parse(Buffer.from(value!).toString()) as { ip: string }).ip
  let collected = 0
  const at: number[] = []
  const service: BatchLookup = {
    trouble: undefined,
    unknownOf(some) {
      busyFor(some.length / 2)
      collected += some.length
      at.push(some.length)
      return some.map(addressOf).filter(address => !known.has(address))
    },
    resolve(addresses) {
      asked.push(addresses.length)
      for (const address of addresses) known.add(address)
      return Promise.resolve()
    },
  }
  const beats = await take(ip => ip.slice(0, 2), service)
  expect(asked).toEqual([1_000])
  // Once to find them, and once to check that all are known.
  expect(collected).toBe(2_000)
  expect(Math.max(...at)).toBeLessThanOrEqual(100)
  expect(beats.length).toBeGreaterThanOrEqual(20)
})

test('a fetch waits while the counts of all partitions take too much memory', async () => {
  const state = new PollerState(1, rules)
  const claimed = { epoch: 1, position: 0, basis: null, announcedTo: null }
  state.assign(
    [0, 1].map(partition => ({ partition, ...claimed })),
    new Map(),
  )
  let pendingBytes = 64_000_000
  Object.defineProperty(state.reader(1), 'pendingBytes', { get: () => pendingBytes })
  const taken: number[] = []
  const intake: Intake = new Intake({
    ...{ settings: rules, state, lag: new PartitionLag(), metrics: new PollerMetrics(new MemoryMeter()) },
    flushSoon() {
      taken.push(intake.taken)
      pendingBytes = 0
      // The poller cuts ranges in its own loop.
      setImmediate(() => intake.onCut())
    },
    onGap: () => expect(true).toBe(false),
    onError: error => expect(error).toBeUndefined(),
  })
  const { length } = records
  const fetch = { partition: 0, fetchedFrom: 0, next: length, removed: [], high: length, length }
  await intake.consume({ ...fetch, record: index => records[index]! }, () => Promise.resolve())
  expect(taken[0]).toBe(0)
  expect(intake.taken).toBe(length)
})
