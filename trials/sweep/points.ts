import { Random } from '../../src/dev/traffic/random'
import { counted, grouped } from '../../src/core/numbers'

export const MAX_TOPIC_BYTES = 64e6
export const MAX_PARTITIONS = 64
export const MAX_WINDOWS = 100
export const REFERRER_BYTES = { min: 20, max: 2_048 }

/** Bytes of an event as JSON without its referrer, rounded up. */
const EVENT_BYTES = 160
/** So that a point with short referrers does not take minutes. */
const MAX_RECORDS = 200_000
const MIN_RECORDS = 400

/** The characters of referrers. `escaped` has quotes, backslashes and control characters, which JSON escapes. */
export const TEXTS = ['ascii', 'unicode', 'escaped'] as const
export type Text = (typeof TEXTS)[number]
/** Average bytes of JSON per byte of text, rounded up. */
const JSON_GROWTH: Record<Text, number> = { ascii: 1, unicode: 1, escaped: 1.7 }

/** `distinct`: each record has its own referrer. `mixed`: each referrer recurs a few times. `repeated`: a few dominate. */
export const DRAWS = ['distinct', 'mixed', 'repeated'] as const
export type Draw = (typeof DRAWS)[number]

export interface Disturbance {
  /** SIGKILL (`kill`) or SIGTERM (`restart`) of one worker, which is then replaced. */
  kind: 'none' | 'kill' | 'restart'
  /** `after` starts when the workers are ready (`load`), or when all windows have received the close signal (`close`). */
  during: 'load' | 'close'
  /** Milliseconds until the strike. */
  after: number
  /** Milliseconds until the replacement starts. */
  pause: number
  /** The worker that is struck: an index, modulo the number of workers. */
  victim: number
}

/** A shape of pipeline and its traffic; its number determines all of it. */
export interface Point {
  number: number
  partitions: number
  /** Half of all records go to the first partition. */
  skewed: boolean
  /** The last partition receives nothing. */
  hasEmptyPartition: boolean
  windows: number
  records: number
  /** Number of distinct referrers. */
  referrers: number
  referrerBytes: { min: number; max: number }
  text: Text
  draw: Draw
  hosts: number
  /** Share of late records, 0 to 1. */
  late: number
  /** Share of malformed records, 0 to 1. */
  malformed: number
  workers: number
  /** FLUSH_INTERVAL */
  flushInterval: string
  /** MAX_GROUPS */
  maxGroups: number
  /** Milliseconds over which the records are sent while the workers run; 0 sends them all before the pipeline starts. */
  liveFor: number
  disturbance: Disturbance
}

export const DEFAULT_FLUSH_INTERVAL = '5s'
export const DEFAULT_MAX_GROUPS = 250_000

export function derivePoint(number: number): Point {
  const random = new Random(number)
  // The first values of neighbouring seeds are similar.
  for (let i = 0; i < 32; i++) random.fraction()
  const chance = (probability: number) => random.fraction() < probability

  const partitions = chance(0.5) ? random.pick([1, 2, 4, 8, 16, 32, 64]) : 1 + random.below(MAX_PARTITIONS)
  const windows = chance(0.4) ? 1 : between(random, 2, MAX_WINDOWS)
  const text = chance(0.7) ? 'ascii' : random.pick(['unicode', 'escaped'] as const)
  const draw = chance(0.5) ? 'distinct' : random.pick(['mixed', 'repeated'] as const)
  const max = between(random, REFERRER_BYTES.min, REFERRER_BYTES.max)
  const min = chance(0.5) ? max : between(random, REFERRER_BYTES.min, max)
  const recordBytes = EVENT_BYTES + ((min + max) / 2) * JSON_GROWTH[text]
  const records = Math.max(
    MIN_RECORDS,
    Math.min(MAX_RECORDS, Math.floor((topicBytes(random) * 0.95) / recordBytes)),
  )
  return {
    number,
    partitions,
    skewed: partitions > 1 && chance(0.2),
    hasEmptyPartition: partitions > 1 && chance(0.1),
    windows,
    records,
    referrers: referrersOf(draw, records, random),
    referrerBytes: { min, max },
    text,
    draw,
    hosts: between(random, 1, 50),
    late: chance(0.35) ? 0.0005 + random.fraction() * 0.05 : 0,
    malformed: chance(0.35) ? 0.0005 + random.fraction() * 0.05 : 0,
    workers: random.pick([1, 1, 1, 2, 2, 3]),
    flushInterval: chance(0.75) ? DEFAULT_FLUSH_INTERVAL : random.pick(['100ms', '500ms', '1s', '12s']),
    maxGroups: chance(0.8) ? DEFAULT_MAX_GROUPS : random.pick([100, 1_000, 5_000, 20_000, 50_000]),
    liveFor: chance(0.5) ? 0 : 3_000 + random.below(9_000),
    disturbance: disturbanceOf(random),
  }
}

function topicBytes(random: Random): number {
  const size = random.fraction()
  if (size < 0.15) return between(random, 5e5, 5e6)
  return size < 0.93 ? between(random, 5e6, 30e6) : between(random, 30e6, MAX_TOPIC_BYTES)
}

function referrersOf(draw: Draw, records: number, random: Random): number {
  if (draw === 'distinct') return records
  if (draw === 'repeated') return between(random, 5, 2_000)
  return Math.ceil(records / (2 + random.below(9)))
}

function disturbanceOf(random: Random): Disturbance {
  const roll = random.fraction()
  const during = random.fraction() < 0.35 ? 'close' : 'load'
  return {
    kind: roll < 0.2 ? 'none' : roll < 0.65 ? 'kill' : 'restart',
    during,
    after: random.below(during === 'close' ? 1_500 : 8_000),
    pause: random.below(3_000),
    victim: random.below(1_000),
  }
}

/** A whole number in [min, max], log-uniform. */
function between(random: Random, min: number, max: number): number {
  const drawn = Math.floor(Math.exp(Math.log(min) + random.fraction() * Math.log((max + 1) / min)))
  return Math.max(min, Math.min(max, drawn))
}

/** For example `8 partitions, 40,000 records in 1 window, …`. */
export function describePoint(point: Point): string {
  const { partitions, records, referrers, referrerBytes, text, draw, windows, workers, disturbance } = point
  const { min, max } = referrerBytes
  const size = min === max ? `${max} B` : `${min}-${max} B`
  const parts = [
    counted(partitions, 'partition') + (point.skewed ? ' (skewed)' : ''),
    `${counted(records, 'record')} in ${counted(windows, 'window')}`,
    `${grouped(referrers)} ${draw} ${text} referrers of ${size}`,
    counted(workers, 'worker'),
    point.liveFor > 0 ? `live for ${(point.liveFor / 1_000).toFixed(0)} s` : 'backlog',
  ]
  if (point.flushInterval !== DEFAULT_FLUSH_INTERVAL) parts.push(`FLUSH_INTERVAL=${point.flushInterval}`)
  if (point.maxGroups !== DEFAULT_MAX_GROUPS) parts.push(`MAX_GROUPS=${point.maxGroups}`)
  if (point.late > 0) parts.push('late records')
  if (point.malformed > 0) parts.push('malformed records')
  if (point.hasEmptyPartition) parts.push('one empty partition')
  parts.push(describeDisturbance(disturbance))
  return parts.join(', ')
}

function describeDisturbance({ kind, during, after }: Disturbance): string {
  if (kind === 'none') return 'no disturbance'
  const signal = kind === 'kill' ? 'SIGKILL' : 'SIGTERM'
  return `${signal} of a worker during the ${during}, ${(after / 1_000).toFixed(1)} s in`
}
