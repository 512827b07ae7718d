import { windowStart } from '../../core/window/tumbling-window'
import { type MaxEventTime, advance, isLate, watermark } from '../../core/window/watermark'
import { eventText, malformedValue } from './malformed'
import { Population } from './population'
import { Random } from './random'

/** The windows and the watermark delay that late events are late by: the pipeline's defaults. */
const WINDOW_SIZE = 5 * 60_000
const WATERMARK_DELAY = 60_000
/** How far behind the watermark of its partition a late event lies. */
const LATE_BY = { least: 5 * 60_000, most: 30 * 60_000 }

export interface SyntheticOptions {
  /** The same seed and options, given the same times, give the same bytes. */
  seed: number
  /** Number of distinct referrers. */
  referrers: number
  /** Partitions the records are sent to in turn: whether an event is late is a matter of its partition. */
  partitions: number
  /** Milliseconds by which an event may be older than its place in the stream; under a minute nothing is late. */
  disorder: number
  /** Share, 0 to 1, of events 5 to 30 minutes behind the watermark of their partition. */
  late: number
  /** Share, 0 to 1, of records that cannot be counted, of every kind alike. */
  malformed: number
}

export interface SyntheticRecord {
  /** JSON text; null is a record without a value, one of the malformed kinds. */
  value: string | null
  partition: number
  malformed: boolean
  /** By the default window and watermark, and if the topic was empty before. */
  late: boolean
}

/** Invents web traffic: pure, so that a test or a bug report can repeat every byte of it. */
export class SyntheticTraffic {
  private readonly random: Random
  private readonly population: Population
  private readonly bases: MaxEventTime[]
  private made = 0

  constructor(private readonly options: SyntheticOptions) {
    this.random = new Random(options.seed)
    this.population = new Population(options.referrers, this.random)
    this.bases = Array.from({ length: options.partitions }, () => null)
  }

  /**
   * The next record of the stream.
   *
   * @param time where the stream is in event time, epoch ms, never going back
   * @param now the wall clock, epoch ms: what an event of the future is ahead of
   */
  next(time: number, now: number): SyntheticRecord {
    const { random, options } = this
    const partition = this.made++ % options.partitions
    const visit = this.population.visit(random)
    const jittered = time - random.below(options.disorder + 1)
    const lot = random.fraction()
    if (lot < options.malformed) {
      const value = malformedValue({ visit, eventTime: jittered, now }, random)
      return { value, partition, malformed: true, late: false }
    }
    const basis = this.bases[partition]!
    // A partition without an event has no watermark that another could be late by.
    const wanted = random.fraction() < options.late && basis !== null
    const eventTime = wanted ? this.lateTime(basis) : jittered
    const late = isLate(windowStart(eventTime, WINDOW_SIZE) + WINDOW_SIZE, basis, {
      watermarkDelay: WATERMARK_DELAY,
      allowedLateness: 0,
    })
    if (!late) this.bases[partition] = advance(basis, eventTime, now)
    return { value: eventText(visit, eventTime), partition, malformed: false, late }
  }

  /** At least a window behind the watermark, so that its window has ended wherever the windows lie. */
  private lateTime(basis: number): number {
    return watermark(basis, WATERMARK_DELAY) - LATE_BY.least - this.random.below(LATE_BY.most - LATE_BY.least)
  }
}

export interface History {
  events: number
  /** Event time of the first event, epoch ms. */
  start: number
  /** Milliseconds of event time over which the events are spread evenly. */
  span: number
  /** The wall clock, epoch ms. */
  now: number
}

/** A stretch of past traffic. */
export function* syntheticHistory(options: SyntheticOptions, history: History): Generator<SyntheticRecord> {
  const { events, start, span, now } = history
  const traffic = new SyntheticTraffic(options)
  for (let index = 0; index < events; index++)
    yield traffic.next(start + Math.floor((index * span) / events), now)
}
