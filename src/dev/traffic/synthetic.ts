import { windowStart } from '../../core/window/tumbling-window'
import { type MaxEventTime, advance, isLate, watermark } from '../../core/window/watermark'
import { eventText, malformedValue } from './malformed'
import { Population } from './population'
import { Random } from './random'

/** The pipeline's defaults, by which late events are late. */
const WINDOW_SIZE = 5 * 60_000
const WATERMARK_DELAY = 60_000
/** Milliseconds that a late event is behind the watermark: at least a window, so that its window has ended. */
const LATE_BY = { min: 5 * 60_000, max: 30 * 60_000 }

export interface SyntheticOptions {
  /** The same seed, options and times give the same bytes. */
  seed: number
  /** Number of distinct referrers. */
  referrers: number
  /** Number of partitions, which the records go to in turn. */
  partitions: number
  /** Max milliseconds by which an event is older than its place in the stream; below a minute this makes none late. */
  disorder: number
  /** Share, 0 to 1, of events 5 to 30 minutes behind the watermark of their partition. */
  late: number
  /** Share, 0 to 1, of invalid records. */
  malformed: number
}

export interface SyntheticRecord {
  /** JSON text; null is a record without a value, one of the malformed kinds. */
  value: string | null
  partition: number
  malformed: boolean
  /** Valid for the default window size and watermark delay, and a topic that was empty before. */
  late: boolean
}

/** Generates web traffic, reproducibly. */
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
   * @param time event time of the stream, epoch ms; must not decrease
   * @param now the wall clock, epoch ms
   */
  next(time: number, now: number): SyntheticRecord {
    const { random, options } = this
    const partition = this.made++ % options.partitions
    const visit = this.population.visit(random)
    const jittered = time - random.below(options.disorder + 1)
    const roll = random.fraction()
    if (roll < options.malformed) {
      const value = malformedValue({ visit, eventTime: jittered, now }, random)
      return { value, partition, malformed: true, late: false }
    }
    const basis = this.bases[partition]!
    // A partition without events has no watermark yet.
    const eventTime = random.fraction() < options.late && basis !== null ? this.lateTime(basis) : jittered
    const late = isLate(windowStart(eventTime, WINDOW_SIZE) + WINDOW_SIZE, basis, {
      watermarkDelay: WATERMARK_DELAY,
      allowedLateness: 0,
    })
    if (!late) this.bases[partition] = advance(basis, eventTime, now)
    return { value: eventText(visit, eventTime), partition, malformed: false, late }
  }

  private lateTime(basis: number): number {
    return watermark(basis, WATERMARK_DELAY) - LATE_BY.min - this.random.below(LATE_BY.max - LATE_BY.min)
  }
}

export interface History {
  events: number
  /** Event time of the first event, epoch ms. */
  start: number
  /** Milliseconds of event time that the events are spread over evenly. */
  span: number
  /** The wall clock, epoch ms. */
  now: number
}

export function* syntheticHistory(options: SyntheticOptions, history: History): Generator<SyntheticRecord> {
  const { events, start, span, now } = history
  const traffic = new SyntheticTraffic(options)
  for (let index = 0; index < events; index++)
    yield traffic.next(start + Math.floor((index * span) / events), now)
}
