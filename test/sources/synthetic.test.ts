import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { readEvent } from '../../src/core/event/event'
import { MALFORMED_KINDS } from '../../src/dev/traffic/malformed'
import { Population } from '../../src/dev/traffic/population'
import { Random } from '../../src/dev/traffic/random'
import {
  type SyntheticOptions,
  type SyntheticRecord,
  syntheticHistory,
} from '../../src/dev/traffic/synthetic'

const NOW = Date.parse('2026-03-01T12:00:00Z')
const HOUR = 3_600_000
const PLAIN: SyntheticOptions = {
  seed: 1,
  referrers: 2_000,
  partitions: 4,
  disorder: 20_000,
  late: 0,
  malformed: 0,
}

interface Event {
  url: string
  referrer: string
  user_agent: string
  host: string
  ip: string
  headers: Record<string, string>
  event_time: string
}

const history = (options: Partial<SyntheticOptions>, events: number, span = HOUR): SyntheticRecord[] => [
  ...syntheticHistory({ ...PLAIN, ...options }, { events, start: NOW - span, span, now: NOW }),
]
const parse = ({ value }: SyntheticRecord) => JSON.parse(value!) as Event

/** An independent rule of lateness: the window ends at or before the largest event time so far minus a minute. */
function countLate(records: SyntheticRecord[], partitions: number): number {
  const largest = new Array<number>(partitions).fill(-Infinity)
  let late = 0
  records.forEach((record, index) => {
    if (record.malformed) return
    const time = Date.parse(parse(record).event_time)
    const end = Math.floor(time / 300_000) * 300_000 + 300_000
    if (end <= largest[index % partitions]! - 60_000) late++
    else largest[index % partitions] = Math.max(largest[index % partitions]!, time)
  })
  return late
}

const reasonOf = (value: string | null) => {
  const event = readEvent(value, NOW, { maxFuture: 60_000, referrer: 'full' })
  return typeof event === 'string' ? event : 'accepted'
}

describe('synthetic traffic', () => {
  it('depends only on the seed', () => {
    const options = { late: 0.1, malformed: 0.1 }
    const once = history({ ...options, seed: 7 }, 2_000)
    expect(history({ ...options, seed: 7 }, 2_000)).toEqual(once)
    expect(history({ ...options, seed: 8 }, 2_000)).not.toEqual(once)
  })

  it('is dealt round robin, spread over the span, and out of order by at most the disorder', () => {
    const events = 3_600
    history({ disorder: 15_000 }, events).forEach((record, index) => {
      expect(record.partition).toBe(index % 4)
      const behind = NOW - HOUR + (index * HOUR) / events - Date.parse(parse(record).event_time)
      expect(behind).toBeGreaterThanOrEqual(0)
      expect(behind).toBeLessThanOrEqual(15_000)
    })
  })

  it('is in order without disorder', () => {
    const times = history({ disorder: 0 }, 500).map(record => parse(record).event_time)
    expect(times).toEqual([...times].sort())
  })

  it('has no late and no malformed events by default', () => {
    const records = history({}, 20_000)
    expect(countLate(records, 4)).toBe(0)
    expect(records.some(record => record.late || record.malformed)).toBe(false)
    expect(new Set(records.map(record => reasonOf(record.value)))).toEqual(new Set(['accepted']))
  })

  it('has the requested shares of late and malformed records, and every kind of malformed record', () => {
    const records = history({ late: 0.05, malformed: 0.1 }, 20_000)
    const share = (of: (record: SyntheticRecord) => boolean) => records.filter(of).length / records.length
    // Five standard deviations of a binomial share of 20,000.
    expect(Math.abs(share(record => record.malformed) - 0.1)).toBeLessThan(0.011)
    expect(Math.abs(share(record => record.late) - 0.05 * 0.9)).toBeLessThan(0.008)
    const reasons = new Set(records.filter(record => record.malformed).map(record => reasonOf(record.value)))
    expect(reasons).not.toContain('accepted')
    expect(reasons.size).toBe(Object.keys(MALFORMED_KINDS).length)
  })

  it('marks exactly the late records, for any options', () => {
    const options = fc.record({
      seed: fc.nat(),
      referrers: fc.integer({ min: 1, max: 50 }),
      partitions: fc.integer({ min: 1, max: 7 }),
      disorder: fc.integer({ min: 0, max: 900_000 }),
      late: fc.double({ min: 0, max: 1, noNaN: true }),
      malformed: fc.double({ min: 0, max: 0.5, noNaN: true }),
    })
    fc.assert(
      fc.property(options, fc.integer({ min: 1, max: 300 }), (options, events) => {
        const records = history(options, events)
        expect(records.filter(record => record.late)).toHaveLength(countLate(records, options.partitions))
      }),
      { numRuns: 50 },
    )
  })

  it('has about 450 bytes per event and a skewed distribution over 50 hosts', () => {
    const records = history({}, 20_000)
    const bytes = records.reduce((sum, { value }) => sum + Buffer.byteLength(value!), 0) / records.length
    expect(bytes).toBeGreaterThan(400)
    expect(bytes).toBeLessThan(500)
    const hosts = new Map<string, number>()
    for (const { host } of records.map(parse)) hosts.set(host, (hosts.get(host) ?? 0) + 1)
    expect(hosts.size).toBe(50)
    expect(Math.max(...hosts.values()) / records.length).toBeGreaterThan(0.15)
  })

  it('has addresses of both families and a few private ones', () => {
    const addresses = [...new Set(history({}, 20_000).map(record => parse(record).ip))]
    const share = (of: (ip: string) => boolean) => addresses.filter(of).length / addresses.length
    expect(addresses.length).toBeGreaterThan(5_000)
    expect(share(ip => ip.includes(':'))).toBeGreaterThan(0.1)
    expect(share(ip => /^(10|192\.168|172\.(1[6-9]|2\d|3[01]))\.|^fd/.test(ip))).toBeGreaterThan(0.001)
  })

  it.each([1, 2, 7, 60, 500])('has %i distinct referrers and no more', referrers => {
    const population = new Population(referrers, new Random(3))
    const random = new Random(4)
    const seen = new Set(Array.from({ length: 200_000 }, () => population.visit(random).referrer))
    expect(seen.size).toBe(referrers)
  })
})
