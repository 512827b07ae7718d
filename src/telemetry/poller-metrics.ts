import type { MetricMeter } from '@temporalio/common'
import { hitsOfCountry } from '../core/counts/columnar'
import { UNKNOWN_COUNTRY } from '../core/counts/unknown-country'
import { MISSING_REASONS, type MissingReason, type RejectionReason } from '../core/event/event'
import type { OffsetRange } from '../core/window/offset-range'
import { bytesOf, type Outgoing } from '../core/window/poller-state'
import type { DeltaExceptions } from '../core/window/protocol'
import { sumOf } from '../core/window/totals'
import { createCounters, label } from './instruments'

const REASONS: Record<RejectionReason | MissingReason, true> = {
  null_value: true,
  invalid_json: true,
  not_an_object: true,
  missing_event_time: true,
  invalid_event_time: true,
  future_event_time: true,
  missing_host: true,
  host_too_long: true,
  lost_to_retention: true,
  removed_by_compaction: true,
}

/**
 * Metrics of this process's poller, updated once per flush. If a poller ends between sending a range and reporting it
 * done, the next poller counts the range too.
 */
export class PollerMetrics {
  private readonly counters
  private readonly active
  private readonly lookupFailing
  private readonly lookupWait
  private readonly flushDuration
  private readonly flushSize
  private readonly flushRecords
  private readonly flushWindows

  constructor(meter: MetricMeter) {
    this.counters = createCounters(meter, {
      records: ['Records read and sent on'],
      hits: ['Records counted in a window'],
      late: ['Late events, by cause', label('cause', ['watermark'])],
      rejected: ['Records that are not usable events, by reason', label('reason', Object.keys(REASONS))],
      rejected_unnamed: ['Rejected records that are counted but not listed'],
      unknown_country: ['Events counted under the unknown country, ??'],
      passed_over: ['Fetched records that were skipped, by reason', label('reason', ['done', 'not_held'])],
      fetch_gaps: ['Fetches that started past the position; the partition is claimed again'],
      claimed_partitions: ['Partitions claimed from the ledger'],
      refused_partitions: ['Partitions whose flush the ledger refused'],
      offset_commit_failures: ['Offset commits that Kafka did not accept'],
      kafka_unanswered: ['Requests for the end of the log without an answer'],
      poller_failures: ['Failed attempts of a poller, by kind', label('kind', ['lookup', 'other'])],
      lookup_addresses: ['Addresses that reading waited for'],
    })
    const histogram = (name: string, description: string, unit?: string, type: 'int' | 'float' = 'int') =>
      meter.createHistogram(`web_traffic_${name}`, type, unit, description)
    this.lookupWait = histogram('lookup_wait', 'How long reading waited for lookups', 'seconds', 'float')
    this.flushDuration = histogram('flush_duration', 'Duration of a flush, by phase', 'seconds', 'float')
    this.flushSize = histogram('flush_size', 'Size of the counts of a flush', 'bytes')
    this.flushRecords = histogram('flush_records', 'Records per flush')
    this.flushWindows = histogram('flush_windows', 'Windows per flush that it had counts for')
    const flag = (name: string, description: string) =>
      meter.createGauge(`web_traffic_${name}`, 'int', undefined, description)
    this.active = flag('poller_active', '1 while this worker runs a poller')
    this.lookupFailing = flag('lookup_failing', '1 while the lookup service fails and is retried')
    this.ran(false)
    this.lookupFails(false)
  }

  ran(active: boolean): void {
    this.active.set(active ? 1 : 0)
  }

  lookupFails(failing: boolean): void {
    this.lookupFailing.set(failing ? 1 : 0)
  }

  failed(kind: 'lookup' | 'other'): void {
    this.counters.poller_failures.add(1, { kind })
  }

  /** @param reason `not_held` if the partition does not belong to this poller */
  passedOver(records: number, reason: 'done' | 'not_held'): void {
    if (records > 0) this.counters.passed_over.add(records, { reason })
  }

  count(
    event:
      | 'fetch_gaps'
      | 'claimed_partitions'
      | 'refused_partitions'
      | 'offset_commit_failures'
      | 'kafka_unanswered',
    times = 1,
  ): void {
    this.counters[event].add(times)
  }

  /** @param wait milliseconds */
  lookedUp(addresses: number, wait: number): void {
    this.counters.lookup_addresses.add(addresses)
    this.lookupWait.record(wait / 1_000)
  }

  /**
   * Counts a flush whose deltas were all accepted.
   *
   * @param took milliseconds of each phase
   */
  flushed(outgoing: Outgoing, ranges: OffsetRange[], took: { announce: number; send: number }): void {
    for (const [phase, milliseconds] of Object.entries(took))
      this.flushDuration.record(milliseconds / 1_000, { phase })
    if (ranges.length === 0) return
    const deltas = [...outgoing.values()].flat().map(({ delta }) => delta)
    for (const { exceptions } of deltas) if (exceptions) this.addRejected(exceptions)
    const { records, hits, late } = sumOf(ranges)
    this.counters.records.add(records)
    this.counters.hits.add(hits)
    this.counters.late.add(late, { cause: 'watermark' })
    this.flushRecords.record(records)
    this.flushWindows.record(outgoing.size)
    this.flushSize.record(bytesOf(outgoing))
    const columns = [...deltas, ...deltas.flatMap(({ exceptions }) => exceptions?.late ?? [])]
    for (const counts of columns) this.counters.unknown_country.add(hitsOfCountry(counts, UNKNOWN_COUNTRY))
  }

  private addRejected({ rejected, samples }: DeltaExceptions): void {
    let records = 0
    for (const [reason, count] of Object.entries(rejected)) {
      this.counters.rejected.add(count, { reason })
      records += count
    }
    // One sample stands for all records that are missing for the same reason.
    const missing = MISSING_REASONS.map(reason => rejected[reason] ?? 0).filter(count => count > 0)
    const named = missing.reduce((sum, count) => sum + count - 1, samples.length)
    this.counters.rejected_unnamed.add(records - named)
  }
}
