import type { MetricMeter } from '@temporalio/common'
import { hitsOfCountry } from '../core/counts/columnar'
import type { RejectionReason } from '../core/event/event'
import type { DeltaExceptions } from '../core/window/protocol'
import type { OffsetRange } from '../core/window/offset-range'
import { bytesOf, type Outgoing } from '../core/window/poller-state'
import { sumOf } from '../core/window/totals'
import { UNKNOWN_COUNTRY } from '../core/counts/unknown-country'

/** Every reason is there from the start, at 0: Prometheus sees no increase in a series that begins with its first one. */
const REASONS: Record<RejectionReason | 'lost_to_retention', true> = {
  null_value: true,
  invalid_json: true,
  not_an_object: true,
  missing_event_time: true,
  invalid_event_time: true,
  future_event_time: true,
  missing_host: true,
  host_too_long: true,
  lost_to_retention: true,
}

/**
 * What the poller of this process does. It is told of flushes, never of single records. A range that another poller
 * reads again, because this one was ended between sending it and saying so, is counted by both.
 */
export class PollerMetrics {
  private readonly active
  private readonly lookupFailing
  private readonly records
  private readonly hits
  private readonly late
  private readonly rejected
  private readonly rejectedUnnamed
  private readonly unknownCountry
  private readonly passedOverRecords
  private readonly fetchGaps
  private readonly claimedPartitions
  private readonly refusedPartitions
  private readonly commitFailures
  private readonly kafkaUnanswered
  private readonly failures
  private readonly addresses
  private readonly lookupWait
  private readonly flushDuration
  private readonly flushSize
  private readonly flushRecords
  private readonly flushWindows

  constructor(meter: MetricMeter) {
    const counter = (name: string, description: string) =>
      meter.createCounter(`web_traffic_${name}`, undefined, description)
    const seconds = (name: string, description: string) =>
      meter.createHistogram(`web_traffic_${name}`, 'float', 'seconds', description)
    const amount = (name: string, description: string, unit?: string) =>
      meter.createHistogram(`web_traffic_${name}`, 'int', unit, description)
    const flag = (name: string, description: string) =>
      meter.createGauge(`web_traffic_${name}`, 'int', undefined, description)

    this.active = flag('poller_active', '1 while this worker runs a poller')
    this.lookupFailing = flag('lookup_failing', '1 while the look-up service fails and is tried again')
    this.records = counter('records', 'Records that were read and handed on')
    this.hits = counter('hits', 'Records that were counted in a window')
    this.late = counter('late', 'Events that came after their window, by cause')
    this.rejected = counter('rejected', 'Records that are no usable event, by reason')
    this.rejectedUnnamed = counter('rejected_unnamed', 'Rejected records that are counted but not named')
    this.unknownCountry = counter('unknown_country', 'Events that were counted under the country ??')
    this.passedOverRecords = counter('passed_over', 'Records that were fetched and not taken, by reason')
    this.fetchGaps = counter('fetch_gaps', 'Fetches that left records out; the partition is claimed anew')
    this.claimedPartitions = counter('claimed_partitions', 'Partitions that were claimed from the ledger')
    this.refusedPartitions = counter('refused_partitions', 'Partitions whose flush the ledger refused')
    this.commitFailures = counter('offset_commit_failures', 'Commits of offsets that Kafka did not take')
    this.kafkaUnanswered = counter('kafka_unanswered', 'Questions for the end of the log without an answer')
    this.failures = counter('poller_failures', 'Attempts of a poller that failed, by kind')
    this.addresses = counter('lookup_addresses', 'Addresses that the look-up service was asked for')
    this.lookupWait = seconds('lookup_wait', 'How long reading waited for the look-up service')
    this.flushDuration = seconds('flush_duration', 'How long a flush took, by phase')
    this.flushSize = amount('flush_size', 'Size of the counts that a flush sent to windows', 'bytes')
    this.flushRecords = amount('flush_records', 'Records of a flush')
    this.flushWindows = amount('flush_windows', 'Windows that a flush had counts for')

    const plain = [
      this.records,
      this.hits,
      this.rejectedUnnamed,
      this.unknownCountry,
      this.fetchGaps,
      this.claimedPartitions,
      this.refusedPartitions,
      this.commitFailures,
      this.kafkaUnanswered,
      this.addresses,
    ]
    for (const metric of plain) metric.add(0)
    for (const reason of Object.keys(REASONS)) this.rejected.add(0, { reason })
    for (const reason of ['done', 'not_held']) this.passedOverRecords.add(0, { reason })
    this.late.add(0, { cause: 'watermark' })
    for (const kind of ['lookup', 'other']) this.failures.add(0, { kind })
    this.ran(false)
    this.lookupFails(false)
  }

  ran(active: boolean): void {
    this.active.set(active ? 1 : 0)
  }

  failed(kind: 'lookup' | 'other'): void {
    this.failures.add(1, { kind })
  }

  claimed(partitions: number): void {
    this.claimedPartitions.add(partitions)
  }

  refused(partitions: number): void {
    this.refusedPartitions.add(partitions)
  }

  /** @param reason whether they are done already, or of a partition that is not this poller's (any more) */
  passedOver(records: number, reason: 'done' | 'not_held'): void {
    this.passedOverRecords.add(records, { reason })
  }

  leftGap(): void {
    this.fetchGaps.add(1)
  }

  commitFailed(): void {
    this.commitFailures.add(1)
  }

  kafkaGaveNoAnswer(): void {
    this.kafkaUnanswered.add(1)
  }

  lookupFails(failing: boolean): void {
    this.lookupFailing.set(failing ? 1 : 0)
  }

  /** @param wait milliseconds */
  lookedUp(addresses: number, wait: number): void {
    this.addresses.add(addresses)
    this.lookupWait.record(wait / 1_000)
  }

  /**
   * A flush whose deltas were all accepted.
   *
   * @param ranges those that were sent
   * @param took milliseconds of each phase
   */
  flushed(outgoing: Outgoing, ranges: OffsetRange[], took: { announce: number; send: number }): void {
    for (const [phase, milliseconds] of Object.entries(took))
      this.flushDuration.record(milliseconds / 1_000, { phase })
    if (ranges.length === 0) return
    const deltas = [...outgoing.values()].flat().map(({ delta }) => delta)
    for (const { exceptions } of deltas) if (exceptions) this.tookExceptions(exceptions)
    const { records, hits, late } = sumOf(ranges)
    this.records.add(records)
    this.hits.add(hits)
    this.late.add(late, { cause: 'watermark' })
    this.flushRecords.record(records)
    this.flushWindows.record(outgoing.size)
    this.flushSize.record(bytesOf(outgoing))
    const columns = [...deltas, ...deltas.flatMap(({ exceptions }) => exceptions?.late ?? [])]
    this.unknownCountry.add(columns.reduce((sum, counts) => sum + hitsOfCountry(counts, UNKNOWN_COUNTRY), 0))
  }

  private tookExceptions({ rejected, samples }: DeltaExceptions): void {
    let records = 0
    for (const [reason, count] of Object.entries(rejected)) {
      this.rejected.add(count, { reason })
      records += count
    }
    this.rejectedUnnamed.add(unnamed(records, rejected.lost_to_retention ?? 0, samples.length))
  }
}

/** Records that were lost to retention have one name together. */
function unnamed(rejected: number, lost: number, samples: number): number {
  return rejected - lost - (samples - (lost > 0 ? 1 : 0))
}
