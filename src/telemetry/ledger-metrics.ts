import type { MetricGauge, MetricMeter, MetricTags } from '@temporalio/common'
import { Ledger } from '../core/window/ledger'
import { unsettledWindows } from '../contract/unsettled'
import { watermark } from '../core/window/watermark'
import type { IngestStatus } from '../contract/messages'

/** What the log of a partition has: its first offset, and the one that the next record will get. */
interface PartitionOffsets {
  partition: number
  low: number
  high: number
}

/** Workflows of the pipeline that wait for Postgres. */
interface Waiting {
  stuck: number
  waiting: number
}
type Samples = Map<MetricGauge, { value: number; tags: MetricTags }[]>

/**
 * What only the ledger knows, as gauges. Every worker says the same of the whole pipeline, so that they are never to be
 * added up. What this worker no longer knows is said as NaN, which no comparison is true of: a meter forgets nothing.
 */
export class LedgerMetrics {
  private said: Samples = new Map()
  private readonly answers
  private readonly pollers
  private readonly openWindows
  private readonly closingWindows
  private readonly closedWindows
  private readonly incompleteWindows
  private readonly silentWindows
  private readonly oldestDue
  private readonly stuckWindows
  private readonly waitingWorkflows
  private readonly windowSize
  private readonly watermarkDelay
  private readonly position
  private readonly end
  private readonly lag
  private readonly watermark
  private readonly idle
  private readonly records

  constructor(meter: MetricMeter) {
    const gauge = (name: string, description: string) =>
      meter.createGauge(`web_traffic_${name}`, 'float', undefined, description)
    this.answers = gauge('ledger_answers', '1 where the ledger answered when it was last asked')
    this.pollers = gauge('pollers_wanted', 'Pollers that there should be')
    this.openWindows = gauge('open_windows', 'Windows that are open')
    this.closingWindows = gauge('closing_windows', 'Windows that were told to close and have not answered')
    this.closedWindows = gauge('closed_windows', 'Windows that are closed, since the start')
    this.incompleteWindows = gauge('incomplete_windows', 'Closing windows that have less than they were told')
    this.silentWindows = gauge('silent_windows', 'Closing windows that have not answered for two minutes')
    this.oldestDue = gauge('oldest_open_window_due_timestamp_seconds', 'When the oldest open window is due')
    this.stuckWindows = gauge('stuck_windows', 'Windows whose step has not succeeded for a while')
    this.waitingWorkflows = gauge('waiting_workflows', 'Exceptions and pieces that wait for Postgres')
    this.windowSize = gauge('window_size_seconds', 'Length of a window')
    this.watermarkDelay = gauge('watermark_delay_seconds', 'How long a window waits for stragglers')
    this.position = gauge('partition_position', 'Everything before this offset is done')
    this.end = gauge('partition_end', 'Offset that the next record of the partition will get')
    this.lag = gauge('partition_lag', 'Records that are not done')
    this.watermark = gauge('partition_watermark_timestamp_seconds', 'No event before this is awaited')
    this.idle = gauge('partition_idle', '1 while the partition is silent and holds no window open')
    this.records = gauge('ledger_records', 'What became of the records that are done, since the start')
  }

  /** @param status undefined where the ledger gave no answer */
  tell(status: IngestStatus | undefined, ends: PartitionOffsets[], waiting: Waiting | undefined): void {
    const samples: Samples = new Map()
    const add = (gauge: MetricGauge, value: number | null | undefined, tags: MetricTags = {}) => {
      if (!samples.has(gauge)) samples.set(gauge, [])
      samples.get(gauge)!.push({ value: value ?? NaN, tags })
    }
    add(this.answers, status ? 1 : 0)
    if (status) this.addLedger(status, ends, add)
    if (waiting) {
      add(this.stuckWindows, waiting.stuck)
      add(this.waitingWorkflows, waiting.waiting)
    }
    this.say(samples)
  }

  private addLedger(
    { settings, ledger: state, pollers }: IngestStatus,
    ends: PartitionOffsets[],
    add: (gauge: MetricGauge, value: number | null | undefined, tags?: MetricTags) => void,
  ): void {
    const ledger = new Ledger(settings, state)
    const waiting = ledger.oldestWaiting
    add(this.pollers, pollers)
    add(this.openWindows, state.openWindows.length)
    const { closing, closed } = ledger.windowCounts
    const unsettled = unsettledWindows(ledger.closing, Date.now())
    const incomplete = unsettled.filter(({ balance }) => balance !== null).length
    add(this.closingWindows, closing)
    add(this.closedWindows, closed)
    add(this.incompleteWindows, incomplete)
    add(this.silentWindows, unsettled.length - incomplete)
    add(this.oldestDue, waiting && seconds(waiting.until + settings.watermarkDelay))
    add(this.windowSize, seconds(settings.windowSize))
    add(this.watermarkDelay, seconds(settings.watermarkDelay))
    for (const { partition, low, high } of ends) {
      add(this.end, high, { partition })
      add(this.lag, Math.max(0, high - (ledger.partitions[partition]?.position ?? low)), { partition })
    }
    for (const [partition, { position, basis, idleAt, totals }] of Object.entries(ledger.partitions)) {
      add(this.position, position, { partition })
      add(this.watermark, seconds(watermark(basis, settings.watermarkDelay)), { partition })
      add(this.idle, idleAt === null ? 0 : 1, { partition })
      for (const outcome of ['hits', 'late', 'rejected'] as const)
        add(this.records, totals[outcome], { partition, outcome })
    }
  }

  /** Says what is known now, and takes back what was said before and is not. */
  private say(samples: Samples): void {
    for (const [gauge, before] of this.said)
      for (const { tags } of before) {
        const isKnown = samples.get(gauge)?.some(now => sameTags(now.tags, tags))
        if (!isKnown) gauge.set(NaN, tags)
      }
    for (const [gauge, now] of samples) for (const { value, tags } of now) gauge.set(value, tags)
    this.said = samples
  }
}

/** Of milliseconds. Before 1970, and before the first event, there is nothing to say. */
function seconds(milliseconds: number): number | undefined {
  return milliseconds >= 0 && Number.isFinite(milliseconds) ? milliseconds / 1_000 : undefined
}

function sameTags(a: MetricTags, b: MetricTags): boolean {
  return a.partition === b.partition && a.outcome === b.outcome
}
