import { setTimeout as sleep } from 'node:timers/promises'
import { clientAddresses } from '../../src/dev/traffic/addresses'
import { eventText, malformedValue } from '../../src/dev/traffic/malformed'
import { Random, Zipf } from '../../src/dev/traffic/random'
import type { Draw, Point, Text } from './points'
import type { TrafficRecord } from '../../src/sources/record'

/** The pipeline's defaults, milliseconds. */
export const WINDOW_SIZE = 5 * 60_000
export const WATERMARK_DELAY = 60_000
/** Start of every point's first window: long ago, so that the records alone determine when windows close. */
const FIRST_WINDOW = Date.UTC(2025, 0, 15)
/** Milliseconds by which events are out of order: less than the watermark delay, so none is late by accident. */
const DISORDER = 20_000
/** Milliseconds by which a late event is behind the newest event of its partition. */
const LATE_BY = { min: 11 * 60_000, max: 40 * 60_000 }
/** Malformed events of the future are later than this. */
const FAR_FUTURE = Date.UTC(2200, 0, 1)
const ADDRESSES = 500
/** Milliseconds between batches of live traffic. */
const TICK = 100

/** The records of a point in sending order. The same point gives the same bytes. */
export function* recordsOf(point: Point): Generator<TrafficRecord> {
  const random = new Random(point.number)
  const draw = drawReferrers(point, random)
  const addresses = clientAddresses(ADDRESSES, random).map(address => JSON.stringify(address))
  const hosts = Array.from({ length: point.hosts }, (_, i) => JSON.stringify(`h${i}.sweep.example`))
  const newest: (number | undefined)[] = []
  const span = point.windows * WINDOW_SIZE
  const filled = point.hasEmptyPartition ? point.partitions - 1 : point.partitions
  for (let i = 0; i < point.records; i++) {
    const partition = point.skewed && random.fraction() < 0.5 ? 0 : i % filled
    const visit = {
      url: '"/"',
      referrer: draw(i),
      userAgent: '""',
      host: random.pick(hosts),
      ip: random.pick(addresses),
      headers: '{}',
    }
    const offset = Math.floor((i * span) / point.records) - random.below(DISORDER)
    let eventTime = FIRST_WINDOW + Math.max(0, offset)
    const basis = newest[partition]
    if (random.fraction() < point.malformed) {
      yield {
        partition,
        value: malformedValue({ visit, eventTime, now: FAR_FUTURE }, random),
        malformed: true,
      }
      continue
    }
    if (random.fraction() < point.late && basis !== undefined)
      eventTime = basis - LATE_BY.min - random.below(LATE_BY.max - LATE_BY.min)
    else newest[partition] = Math.max(basis ?? eventTime, eventTime)
    yield { partition, value: eventText(visit, eventTime) }
  }
}

/** Spreads records evenly over a time in milliseconds. */
export async function* paced(
  records: Iterable<TrafficRecord>,
  total: number,
  milliseconds: number,
): AsyncGenerator<TrafficRecord> {
  const began = performance.now()
  let sent = 0
  for (const record of records) {
    while (sent >= Math.ceil((total * (performance.now() - began)) / milliseconds)) await sleep(TICK)
    sent++
    yield record
  }
}

/** The referrer of the nth record, as JSON text. */
function drawReferrers(point: Point, random: Random): (record: number) => string {
  const text = referrerTexts(point, random)
  if (point.draw === 'distinct') return text
  const known: string[] = []
  const rank = rankOf(point.draw, point.referrers, random)
  return () => {
    const index = rank()
    return (known[index] ??= text(index))
  }
}

function rankOf(draw: Draw, referrers: number, random: Random): () => number {
  if (draw === 'mixed') return () => random.below(referrers)
  const zipf = new Zipf(referrers, 1.2)
  return () => zipf.rank(random)
}

const ALPHABETS: Record<Text, string[]> = {
  ascii: [...'abcdefghijklmnopqrstuvwxyz0123456789-_/.?=&'],
  unicode: [...'aeßéñžдж漢字かな한글🙂𝛼'],
  escaped: [...'abcdefgh"\\\t\u0001'],
}
const POOL_LENGTH = 100_003

/** The nth referrer as JSON text: distinct for distinct n, and random, so that it hardly compresses. */
function referrerTexts({ text, referrerBytes }: Point, random: Random): (index: number) => string {
  const alphabet = ALPHABETS[text]
  const pool = Array.from({ length: POOL_LENGTH }, () => random.pick(alphabet))
  const bytes = pool.map(character => Buffer.byteLength(character))
  const { min, max } = referrerBytes
  const lengths = Array.from({ length: 997 }, () => min + random.below(max - min + 1))
  return index => {
    let referrer = `https://${index.toString(36).padStart(5, '0')}/`
    let room = lengths[index % lengths.length]! - referrer.length
    for (let at = (index * 7_919) % POOL_LENGTH; room > 0; at = (at + 1) % POOL_LENGTH) {
      // A character of several bytes may not fit the rest; a plain one takes its place.
      referrer += bytes[at]! <= room ? pool[at]! : 'x'
      room -= bytes[at]! <= room ? bytes[at]! : 1
    }
    return JSON.stringify(referrer)
  }
}
