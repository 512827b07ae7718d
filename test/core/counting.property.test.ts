import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { groups, type ColumnarCounts } from '../../src/core/counts/columnar'
import { EventReader } from '../../src/core/event/event-reader'
import type { AppliedPartition, Claimed, Delta } from '../../src/core/window/protocol'
import type { LogRecord } from '../../src/core/event/log-record'
import type { OffsetRange } from '../../src/core/window/offset-range'
import { MAX_WINDOWS, PartitionReader } from '../../src/core/window/partition-reader'
import { Recount, segmentsOf } from '../../src/core/window/recount'
import { formatInstant, formatWindow } from '../../src/core/window/tumbling-window'
import { WindowState } from '../../src/core/window/window-state'
import { referenceCount, type ReferenceCount } from './reference'
import { MINUTE, record, rowsOf, rules, T0 } from './support'

const event = fc.record({
  at: fc.integer({ min: T0, max: T0 + 40 * MINUTE }),
  host: fc.constantFrom('a.example', 'b.example'),
  referrer: fc.constantFrom('', 'https://r.example/'),
  ip: fc.constantFrom('DE', 'FR'),
})
/** Stands for a record that compaction has removed. */
const REMOVED = Buffer.from('removed')
/** Mostly events, some malformed or removed, with gaps in the offsets as transactions leave them. */
const entry = fc.record({
  event: fc.option(event, { freq: 12 }),
  other: fc.constantFrom(Buffer.from('malformed'), REMOVED),
  gap: fc.oneof(
    { weight: 9, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 3 }) },
  ),
})
const partitionLog = fc.array(entry, { maxLength: 60 }).map(entries => {
  let offset = 0
  return entries.map(({ event, other, gap }): LogRecord => {
    offset += 1 + gap
    return event ? record(offset, event) : { offset, timestamp: T0, value: other }
  })
})
const logs = fc.array(partitionLog, { minLength: 1, maxLength: 3 })
/** Records in a fetch, and whether the range is cut after it. */
const steps = fc.infiniteStream(fc.record({ length: fc.integer({ min: 1, max: 15 }), cut: fc.boolean() }))

const claimed = (partition: number, fields: Partial<Claimed> = {}): Claimed => ({
  partition,
  epoch: 1,
  position: 0,
  basis: null,
  announcedTo: null,
  ...fields,
})

type Read = (...fetch: Parameters<PartitionReader['read']>) => unknown

/** Reads a fetch as Kafka has it after compaction; returns whether all of its records were taken. */
function read(reader: { read: Read }, fetch: LogRecord[]): boolean {
  const records = fetch.filter(({ value }) => value !== REMOVED)
  const removed = fetch
    .filter(({ value }) => value === REMOVED)
    .map(({ offset }) => ({ from: offset, to: offset + 1 }))
  return reader.read(records, fetch.at(-1)!.offset + 1, removed) === records.length
}

/** Reads a log in fetches of random length, cut into ranges at random. */
function readInRanges(
  partition: number,
  log: LogRecord[],
  stream: Iterator<{ length: number; cut: boolean }>,
): OffsetRange[] {
  const reader = new PartitionReader(claimed(partition), rules)
  const ranges: OffsetRange[] = []
  for (let i = 0; i < log.length;) {
    const { length, cut } = stream.next().value as { length: number; cut: boolean }
    const fetch = log.slice(i, i + length)
    expect(read(reader, fetch)).toBe(true)
    i += fetch.length
    const range = cut || i >= log.length ? reader.cut() : undefined
    if (range) ranges.push(range)
  }
  return ranges
}

function addTo(into: Record<string, number>, start: number, counts: ColumnarCounts): void {
  for (const { host, referrer, country, hits } of groups(counts)) {
    const key = JSON.stringify([start, host, referrer, country])
    into[key] = (into[key] ?? 0) + hits
  }
}

/** Late and rejected records, and how many travel to each window. */
function exceptionsOf(ranges: OffsetRange[]): Omit<ReferenceCount, 'hits'> {
  const result: Omit<ReferenceCount, 'hits'> = { late: {}, rejected: 0, exceptions: {} }
  for (const range of ranges)
    for (const start of range.windows.keys()) {
      const { exceptions } = range.delta(start)
      expect(range.sumsOf(start).exceptions).toBe(exceptions?.records ?? 0)
      if (!exceptions) continue
      const { late, rejected, records } = exceptions
      for (const { windowStart, ...counts } of late) addTo(result.late, windowStart, counts)
      for (const records of Object.values(rejected)) result.rejected += records
      result.exceptions[start] = (result.exceptions[start] ?? 0) + records
    }
  return result
}

function hitsOf(windows: Map<number, WindowState>): Record<string, number> {
  const hits = {}
  for (const [start, window] of windows) addTo(hits, start, window.columns())
  return hits
}

test('batching, interleaving of partitions and later repeats do not change the counts', () => {
  const property = fc.property(logs, steps, fc.infiniteStream(fc.nat()), (logs, stream, choices) => {
    const choose = (below: number) => (choices.next().value as number) % below
    const ranges = logs.map((log, partition) => readInRanges(partition, log, stream))
    const queues = ranges.map(ofPartition =>
      ofPartition.flatMap(range =>
        [...range.windows.keys()].map(start => ({ start, delta: range.delta(start) })),
      ),
    )
    const windows = new Map<number, WindowState>()
    const sent: { start: number; delta: Delta }[] = []
    const deliver = ({ start, delta }: { start: number; delta: Delta }) => {
      if (!windows.has(start)) windows.set(start, new WindowState())
      if (choose(5) === 0) windows.get(start)!.open()
      return windows.get(start)!.apply(delta)
    }
    while (queues.some(queue => queue.length > 0)) {
      const waiting = queues.filter(queue => queue.length > 0)
      const next = waiting[choose(waiting.length)]!.shift()!
      expect(deliver(next)).toBe('applied')
      sent.push(next)
      while (choose(3) === 0) expect(deliver(sent[choose(sent.length)]!)).toBe('repeat')
    }
    for (const window of windows.values()) window.open()
    expect({ hits: hitsOf(windows), ...exceptionsOf(ranges.flat()) }).toEqual(referenceCount(logs))
    const records = ranges.flat().map(({ totals }) => totals)
    for (const { records: all, hits, late, rejected } of records) expect(all).toBe(hits + late + rejected)
  })
  fc.assert(property, { numRuns: 500 })
})

test('a range that is re-read after a claim gives the same deltas, even if a fetch goes beyond its end', () => {
  const property = fc.property(partitionLog, steps, fc.nat(), (log, stream, choice) => {
    const ranges = readInRanges(0, log, stream)
    if (ranges.length === 0) return
    const original = ranges[choice % ranges.length]!
    const { from, to, fromBasis, sums } = original
    const claim = claimed(0, { epoch: 2, position: from, basis: fromBasis, announcedTo: to, announced: sums })
    const reader = new PartitionReader(claim, rules)
    let again: OffsetRange | undefined
    while (!again) {
      const { length } = stream.next().value as { length: number }
      const isAllTaken = read(reader, log.filter(({ offset }) => offset >= reader.position).slice(0, length))
      again = reader.cut()
      // Records that did not fit belong to the next range, which can be cut anywhere.
      if (!again) expect(isAllTaken).toBe(true)
    }
    expect([again.from, again.to, again.toBasis]).toEqual([original.from, original.to, original.toBasis])
    expect([...again.windows.keys()].map(start => again.delta(start))).toEqual(
      [...original.windows.keys()].map(start => original.delta(start)),
    )
  })
  fc.assert(property, { numRuns: 500 })
})

test('a recount of closed windows gives the first counts, without events that came after closing', () => {
  const property = fc.property(logs, steps, fc.infiniteStream(fc.nat()), (logs, stream, choices) => {
    const choose = (below: number) => (choices.next().value as number) % below
    const windows = new Map<number, AppliedPartition[]>()
    const expected: Record<string, number> = {}
    for (const [partition, log] of logs.entries()) {
      const deltas = readInRanges(partition, log, stream).flatMap(range =>
        [...range.windows.keys()].map(start => ({ start, ...range.delta(start) })),
      )
      for (const start of new Set(deltas.map(({ start }) => start))) {
        const of = deltas.filter(delta => delta.start === start)
        // The window closed after this many of the deltas.
        const counted = of.slice(0, choose(of.length + 1))
        const { from, basis } = of[0]!
        const applied = { partition, from, basis, last: of.at(-1)!.last }
        const known =
          counted.length === of.length ? applied : { ...applied, counted: counted.at(-1)?.last ?? from - 1 }
        windows.set(start, [...(windows.get(start) ?? []), known])
        for (const delta of counted) addTo(expected, start, delta)
      }
    }
    const chosen = [...windows]
      .filter(() => choose(3) > 0)
      .map(([start, partitions]) => ({ start, partitions }))
    const recount = new Recount(chosen, rules, new EventReader(rules))
    for (const segment of segmentsOf(chosen)) {
      const reader = recount.segment(segment)
      const log = logs[segment.partition]!.filter(({ offset }) => offset >= segment.from)
      for (let i = 0; reader.position < segment.to;) {
        const { length } = stream.next().value as { length: number }
        read(reader, log.slice(i, i + length))
        i += length
      }
    }
    const again = {}
    for (const { start } of chosen) addTo(again, start, recount.counterOf(start).columns())
    const isChosen = ([key]: [string, number]) =>
      chosen.some(({ start }) => start === (JSON.parse(key) as [number])[0])
    expect(again).toEqual(Object.fromEntries(Object.entries(expected).filter(isChosen)))
  })
  fc.assert(property, { numRuns: 1_000 })
})

test('a delta that partly overlaps the applied ones is reported and not counted', () => {
  const delta = (first: number, last: number): Delta => ({
    partition: 0,
    from: first,
    basis: null,
    first,
    last,
    hits: 1,
    hosts: ['a.example'],
    referrers: [''],
    countries: ['DE'],
    rows: rowsOf([0, 0, 0, 1]),
  })
  const window = new WindowState()
  expect(window.apply(delta(0, 10))).toBe('applied')
  expect(window.apply(delta(5, 11))).toBe('overlap')
  expect(window.apply(delta(5, 10))).toBe('repeat')
  expect(window.apply(delta(11, 11))).toBe('applied')
  expect(window.hits).toBe(2)
  expect(window.overlaps).toEqual([{ partition: 0, first: 5, last: 11 }])
})

test('a range has counts of at most MAX_WINDOWS windows, and late events for as many, unless it is re-read', () => {
  const records = (from: number, windows: number, at: number) =>
    Array.from({ length: windows }, (_, i) => record(from + i, { at: at + i * 5 * MINUTE }))
  const reader = new PartitionReader(claimed(0, { position: 0 }), rules)
  const history = records(0, MAX_WINDOWS + 5, T0 - 30 * 24 * 60 * MINUTE)
  expect(reader.read(history, history.length)).toBe(MAX_WINDOWS)
  expect(reader.cut()).toMatchObject({ from: 0, to: MAX_WINDOWS, totals: { hits: MAX_WINDOWS } })
  expect(reader.read(history.slice(MAX_WINDOWS), history.length)).toBe(5)
  expect(reader.cut()).toMatchObject({ to: MAX_WINDOWS + 5, totals: { hits: 5, late: 0 } })
  // The same records again are late; a window that the range already has accepts more.
  const again = records(history.length, MAX_WINDOWS, T0 - 30 * 24 * 60 * MINUTE)
  const last = { ...again.at(-1)!, offset: history.length + MAX_WINDOWS }
  const older = record(last.offset + 1, { at: T0 - 40 * 24 * 60 * MINUTE })
  expect(reader.read([...again, last, older], older.offset + 1)).toBe(MAX_WINDOWS + 1)
  expect(reader.cut()).toMatchObject({ totals: { hits: 0, late: MAX_WINDOWS + 1 } })

  const rereading = new PartitionReader(claimed(0, { position: 0, announcedTo: history.length }), rules)
  expect(rereading.read(history, history.length)).toBe(history.length)
  expect(rereading.cut()).toMatchObject({ totals: { hits: MAX_WINDOWS + 5 } })
})

test('records that retention removed before they were read are counted as lost', () => {
  const reader = new PartitionReader(claimed(0, { position: 10 }), rules, 40)
  reader.read([record(40, { at: T0 })], 41)
  const range = reader.cut()!
  expect(range.totals).toEqual({ records: 31, hits: 1, late: 0, rejected: 30 })
  // Before the first event, their time is unknown.
  expect(range.delta(0).exceptions).toEqual({
    records: 30,
    late: [],
    rejected: { lost_to_retention: 30 },
    samples: [[10, 'lost_to_retention']],
  })
  expect(range.delta(T0).exceptions).toBeUndefined()
})

test('lost records travel to the window that was current at their position', () => {
  const basis = T0 + 7 * MINUTE
  const reader = new PartitionReader(claimed(0, { position: 10, basis }), rules, 40)
  reader.read([record(40, { at: T0 + 20 * MINUTE }), record(41, { at: T0 })], 42)
  const range = reader.cut()!
  expect(sumsOf(range)).toEqual({
    [T0 + 5 * MINUTE]: { hits: 0, exceptions: 30 },
    [T0 + 20 * MINUTE]: { hits: 1, exceptions: 1 },
  })
  expect(range.delta(T0 + 5 * MINUTE)).toMatchObject({ from: 10, first: 10, last: 39, hits: 0, rows: '' })
})

test('an announced range keeps its end if retention went beyond it; the next range counts the rest as lost', () => {
  const reader = new PartitionReader(claimed(0, { position: 10, announcedTo: 25 }), rules, 40)
  const announced = reader.cut()!
  expect(announced).toMatchObject({ from: 10, to: 25 })
  expect(announced.delta(0).exceptions?.rejected).toEqual({ lost_to_retention: 15 })
  reader.read([record(40, { at: T0 })], 41)
  const next = reader.cut()!
  expect(next).toMatchObject({ from: 25, to: 41 })
  expect(next.totals).toEqual({ records: 16, hits: 1, late: 0, rejected: 15 })
  expect(sumsOf(next)).toEqual({ 0: { hits: 0, exceptions: 15 }, [T0]: { hits: 1, exceptions: 0 } })
  expect(reader.cut()).toBeUndefined()
})

test('a range that has changed when it is read again has no counts, and keeps its sums and its watermark', () => {
  const announced = { basis: T0 + 20 * MINUTE, totals: { records: 4, hits: 3, late: 0, rejected: 1 } }
  const read = [record(12, { at: T0 }), record(13, { at: T0 + MINUTE })]
  // Retention has removed some of its records, then compaction, then all of them.
  for (const [earliest, removed] of [
    [12, []],
    [0, [{ from: 10, to: 12 }]],
    [30, []],
  ] as const) {
    const claim = claimed(0, { position: 10, announcedTo: 14, announced })
    const reader = new PartitionReader(claim, rules, earliest)
    reader.read(read, 14, removed)
    const range = reader.cut()!
    expect(range).toMatchObject({ from: 10, to: 14, sums: announced, isWithoutCounts: true })
    // The next range continues at the watermark that the lost records had brought.
    reader.read([record(30, { at: T0 })], 31)
    expect(reader.cut()).toMatchObject({ fromBasis: announced.basis, totals: { hits: 0, late: 1 } })
  }
  const same = claimed(0, { position: 10, announcedTo: 14, announced: { ...announced, basis: T0 + MINUTE } })
  const reader = new PartitionReader(same, rules)
  reader.read([record(10, { at: T0 }), ...read], 14, [{ from: 11, to: 12 }])
  expect(reader.cut()).toMatchObject({ totals: announced.totals, isWithoutCounts: false })
})

const sumsOf = (range: OffsetRange) =>
  Object.fromEntries([...range.windows.keys()].map(start => [start, range.sumsOf(start)]))

const ABSURD = [0, -1, -62_135_596_800_001, 8.64e15, 8.64e15 + 1, 2 ** 53, -(2 ** 53), 2 ** 63, -(2 ** 63)]

test('records with any timestamp are counted in a window with a valid name and end', () => {
  const timestamp = fc.oneof(fc.constantFrom(...ABSURD), fc.double({ noNaN: true }).map(Math.trunc))
  const entry = fc.record({ timestamp, at: fc.option(fc.integer({ min: T0, max: T0 + 40 * MINUTE })) })
  const property = fc.property(fc.array(entry, { minLength: 1, maxLength: 30 }), steps, (entries, stream) => {
    const log = entries.map(({ timestamp, at }, offset): LogRecord => {
      if (at === null) return { offset, timestamp, value: Buffer.from('malformed') }
      return { ...record(offset, { at }), timestamp }
    })
    const ranges = readInRanges(0, log, stream)
    const { exceptions } = exceptionsOf(ranges)
    // The reference does not reject future events.
    const isFuture = (i: number) => entries[i]!.at !== null && entries[i]!.at > entries[i]!.timestamp + MINUTE
    const known = log.map((record, i) => (isFuture(i) ? { ...record, value: Buffer.from('future') } : record))
    expect(exceptions).toEqual(referenceCount([known]).exceptions)
    for (const start of ranges.flatMap(range => [...range.windows.keys()])) {
      expect(formatInstant(start)).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:00Z$/)
      expect(formatWindow(start, rules.windowSize)).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d–\d\d:\d\d$/)
    }
  })
  fc.assert(property, { numRuns: 500 })
})
