import type { MetricGauge, MetricMeter, MetricTags } from '@temporalio/common'
import type { IngestStatus } from '../contract/messages'
import { unsettledWindows } from '../contract/unsettled'
import { Ledger } from '../core/window/ledger'
import { watermark } from '../core/window/watermark'

interface PartitionOffsets {
  partition: number
  low: number
  high: number
}

const GAUGES = {
  ledger_answers: "1 if the ledger answered this worker's last query",
  pollers_wanted: 'Pollers that should run',
  open_windows: 'Open windows',
  closing_windows: 'Windows that received the close signal and have not answered',
  closed_windows: 'Windows closed since the start',
  incomplete_windows: 'Closing windows that lack counts',
  silent_windows: 'Closing windows that have not answered for two minutes',
  oldest_open_window_due_timestamp_seconds: 'When the oldest open window is due',
  stuck_windows: 'Windows with a step that has not succeeded for a while',
  waiting_workflows: 'Exceptions and pieces that wait for Postgres',
  blocked_workflows: 'Workflows whose tasks fail, or that are paused',
  window_size_seconds: 'WINDOW_SIZE',
  watermark_delay_seconds: 'WATERMARK_DELAY',
  partition_position: 'Every record before this offset is done',
  partition_end: 'Offset that the next record of the partition will get',
  partition_lag: 'Records that are not done',
  partition_watermark_timestamp_seconds: 'The watermark',
  partition_idle: '1 while the partition is silent and windows do not wait for it',
  ledger_records: 'Records done since the start of the pipeline, by outcome',
}
type GaugeName = keyof typeof GAUGES
type Add = (gauge: GaugeName, value: number | undefined, tags?: MetricTags) => void

/**
 * Gauges of the pipeline, from the ledger. Every worker reports the same values, so they must not be summed. Values that
 * are no longer known become NaN, because a meter cannot forget a series.
 */
export class LedgerMetrics {
  private readonly gauges = new Map<GaugeName, MetricGauge>()
  /** The series set by the last report. */
  private reported = new Map<string, { gauge: MetricGauge; tags: MetricTags }>()

  constructor(meter: MetricMeter) {
    for (const [name, description] of Object.entries(GAUGES)) {
      const gauge = meter.createGauge(`web_traffic_${name}`, 'float', undefined, description)
      this.gauges.set(name as GaugeName, gauge)
    }
  }

  /**
   * @param status undefined if the ledger did not answer
   * @param workflows how many are in trouble; undefined if Temporal did not answer
   */
  report(
    status: IngestStatus | undefined,
    ends: PartitionOffsets[],
    { stuck, waiting, blocked }: Record<'stuck' | 'waiting' | 'blocked', number | undefined>,
  ): void {
    const stale = this.reported
    this.reported = new Map()
    const add: Add = (name, value = NaN, tags = {}) => {
      const gauge = this.gauges.get(name)!
      const key = JSON.stringify([name, tags.partition, tags.outcome])
      gauge.set(value, tags)
      this.reported.set(key, { gauge, tags })
      stale.delete(key)
    }
    add('ledger_answers', status ? 1 : 0)
    if (status) addLedger(status, ends, add)
    if (stuck !== undefined) add('stuck_windows', stuck)
    if (waiting !== undefined) add('waiting_workflows', waiting)
    if (blocked !== undefined) add('blocked_workflows', blocked)
    for (const { gauge, tags } of stale.values()) gauge.set(NaN, tags)
  }
}

function addLedger(
  { settings, ledger: state, pollers }: IngestStatus,
  ends: PartitionOffsets[],
  add: Add,
): void {
  const ledger = new Ledger(settings, state)
  const { closing, closed } = ledger.windowCounts
  const unsettled = unsettledWindows(ledger.closing, Date.now())
  const incomplete = unsettled.filter(({ balance }) => balance !== null).length
  const oldest = ledger.oldestWaiting
  add('pollers_wanted', pollers)
  add('open_windows', state.openWindows.length)
  add('closing_windows', closing)
  add('closed_windows', closed)
  add('incomplete_windows', incomplete)
  add('silent_windows', unsettled.length - incomplete)
  const due = oldest && seconds(oldest.until + settings.watermarkDelay)
  add('oldest_open_window_due_timestamp_seconds', due ?? undefined)
  add('window_size_seconds', seconds(settings.windowSize))
  add('watermark_delay_seconds', seconds(settings.watermarkDelay))
  for (const { partition, low, high } of ends) {
    add('partition_end', high, { partition })
    const position = ledger.partitions[partition]?.position ?? low
    add('partition_lag', Math.max(0, high - position), { partition })
  }
  for (const [partition, { position, basis, idleAt, totals }] of Object.entries(ledger.partitions)) {
    add('partition_position', position, { partition })
    const reached = seconds(watermark(basis, settings.watermarkDelay))
    add('partition_watermark_timestamp_seconds', reached, { partition })
    add('partition_idle', idleAt === null ? 0 : 1, { partition })
    for (const outcome of ['hits', 'late', 'rejected'] as const)
      add('ledger_records', totals[outcome], { partition, outcome })
  }
}

/** Undefined before 1970, and for the watermark of a partition without events. */
function seconds(milliseconds: number): number | undefined {
  return milliseconds >= 0 && Number.isFinite(milliseconds) ? milliseconds / 1_000 : undefined
}
