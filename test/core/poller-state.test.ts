import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { hitsOf } from '../../src/core/counts/columnar'
import type { FlushAnswer } from '../../src/core/window/protocol'
import type { LogRecord } from '../../src/core/event/log-record'
import { MAX_WINDOWS, PartitionReader } from '../../src/core/window/partition-reader'
import { bytesOf, MAX_ANNOUNCED, PollerState, type SizedDelta } from '../../src/core/window/poller-state'
import { MINUTE, record, rules, T0 } from './support'

const accepted: FlushAnswer = { refused: [], pollers: 1 }

function holding(partitions: number): PollerState {
  const state = new PollerState(1, rules)
  const claims = Array.from({ length: partitions }, (_, partition) => partition)
  state.assign(
    claims.map(partition => ({ partition, epoch: 1, position: 0, basis: null, announcedTo: null })),
    new Map(),
  )
  return state
}

/** Offsets `[from, from + windows)`, each an event in its own window, on time. */
const spread = (from: number, windows: number): LogRecord[] =>
  Array.from({ length: windows }, (_, i) => {
    const at = T0 + (from + i) * 5 * MINUTE
    return { ...record(from + i, { at }), timestamp: at }
  })

test('a flush announces at most MAX_ANNOUNCED windows, and every partition has its turn', () => {
  const PARTITIONS = 6
  const state = holding(PARTITIONS)
  const next = new Map<number, number>()
  const turns = new Map<number, number>()
  // In every round, each partition has a full range to announce.
  for (let round = 0; round < 6; round++) {
    for (const reader of state.partitions) {
      const from = next.get(reader.partition) ?? 0
      if (reader.position > from) continue
      expect(reader.read(spread(from, MAX_WINDOWS), from + MAX_WINDOWS)).toBe(MAX_WINDOWS)
    }
    const request = state.plan(PARTITIONS)!
    const announced = request.partitions.filter(({ announce }) => announce)
    const windows = announced.reduce((sum, { announce }) => sum + announce!.windows.length, 0)
    expect(windows).toBeLessThanOrEqual(MAX_ANNOUNCED)
    expect(windows).toBeGreaterThan(MAX_ANNOUNCED - MAX_WINDOWS)
    for (const { partition, announce } of announced) {
      turns.set(partition, (turns.get(partition) ?? 0) + 1)
      next.set(partition, announce!.to)
    }
    const outgoing = state.accepted(accepted)
    expect([...outgoing.values()].flat()).toHaveLength(windows)
    state.signalled()
  }
  const counts = Array.from({ length: PARTITIONS }, (_, partition) => turns.get(partition) ?? 0)
  expect(Math.min(...counts)).toBeGreaterThan(0)
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
})

test('a partition that waits for the next flush still reports its done range, and loses nothing', () => {
  const PARTITIONS = 6
  const state = holding(PARTITIONS)
  for (const reader of state.partitions) reader.read(spread(0, MAX_WINDOWS), MAX_WINDOWS)
  const said: Record<number, string[]> = {}
  let hits = 0
  for (let request = state.plan(PARTITIONS); request; request = state.plan(PARTITIONS)) {
    for (const { partition, announce, done } of request.partitions) {
      said[partition] ??= []
      if (done) said[partition].push(`done ${done.to}`)
      if (announce) said[partition].push(`announce ${announce.from} ${announce.to}`)
    }
    for (const { delta } of [...state.accepted(accepted).values()].flat()) hits += delta.hits
    state.signalled()
  }
  for (let partition = 0; partition < PARTITIONS; partition++)
    expect(said[partition]).toEqual([`announce 0 ${MAX_WINDOWS}`, `done ${MAX_WINDOWS}`])
  expect(hits).toBe(PARTITIONS * MAX_WINDOWS)
  expect(state.pending).toBe(false)
})

test('a range is cut before the counts of all its windows exceed 4 MB, and nothing is lost', () => {
  const claimed = { partition: 0, epoch: 1, position: 0, basis: null, announcedTo: null }
  const reader = new PartitionReader(claimed, { ...rules, allowedLateness: 24 * 60 * MINUTE })
  const records = Array.from({ length: 3_000 }, (_, i) => {
    const referrer = `https://${i}.example/`.padEnd(2_000, 'x')
    return record(i, { at: T0 + (i % 10) * 5 * MINUTE, referrer })
  })
  const ranges: number[] = []
  let hits = 0
  while (reader.position < records.length) {
    reader.read(records, records.length)
    expect(reader.pendingBytes).toBeLessThanOrEqual(4_000_000 + 3_000)
    const range = reader.cut()!
    ranges.push([...range.windows.keys()].reduce((sum, start) => sum + range.encodedBytes(start), 0))
    hits += range.totals.hits
  }
  expect(ranges).toHaveLength(2)
  expect(Math.max(...ranges)).toBeGreaterThan(3_900_000)
  expect(hits).toBe(3_000)
})

const event = fc.record({
  at: fc.integer({ min: T0, max: T0 + 40 * MINUTE }),
  referrer: fc.oneof(fc.constantFrom('', 'https://r.example/'), fc.string({ unit: 'binary', maxLength: 12 })),
})
const logs = fc.array(fc.array(fc.option(event), { maxLength: 40 }), { minLength: 1, maxLength: 3 })

test('deltas contain what was announced, and are no larger than their estimate', () => {
  const property = fc.property(logs, entries => {
    const state = holding(entries.length)
    entries.forEach((entries, partition) => {
      const log = entries.map((event, offset) =>
        event ? record(offset, event) : { offset, timestamp: T0, value: Buffer.from('malformed') },
      )
      state.reader(partition)!.read(log, log.length)
    })
    const announced: Record<string, object> = {}
    const request = state.plan(entries.length)
    for (const { partition, announce } of request?.partitions ?? [])
      announce!.windows.forEach((start, i) => {
        announced[`${partition} ${start}`] = {
          hits: announce!.hits![i],
          exceptions: announce!.exceptions![i],
        }
      })
    const outgoing = request ? state.accepted(accepted) : new Map<number, SizedDelta[]>()
    const sent: Record<string, object> = {}
    let all = 0
    for (const [start, deltas] of outgoing)
      for (const { delta, bytes } of deltas) {
        const size = Buffer.byteLength(JSON.stringify(delta))
        expect(size).toBeLessThanOrEqual(bytes)
        all += size
        const { exceptions } = delta
        const rejected = Object.values(exceptions?.rejected ?? {}).reduce((sum, records) => sum + records, 0)
        const late = (exceptions?.late ?? []).reduce((sum, counts) => sum + hitsOf(counts), 0)
        sent[`${delta.partition} ${start}`] = { hits: hitsOf(delta), exceptions: late + rejected }
        expect(delta.hits).toBe(hitsOf(delta))
      }
    expect(sent).toEqual(announced)
    expect(all).toBeLessThanOrEqual(bytesOf(outgoing))
  })
  fc.assert(property, { numRuns: 300 })
})

test('no delta of a refused range is sent', () => {
  const state = holding(2)
  for (const reader of state.partitions) reader.read([record(0, { at: T0 })], 1)
  state.plan(2)
  const outgoing = state.accepted({ refused: [1], pollers: 1 })
  expect([...outgoing.values()].flat().map(({ delta }) => delta.partition)).toEqual([0])
  expect(state.partitions.map(({ partition }) => partition)).toEqual([0])
})
