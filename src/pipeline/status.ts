import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import { totalsOf } from '../core/window/ledger'
import type { RangeTotals } from '../core/window/protocol'
import { formatInstant } from '../core/window/tumbling-window'
import { type UnsettledWindow, unsettledWindows } from '../contract/unsettled'
import { watermark } from '../core/window/watermark'
import { topicOffsets, withAdmin, type PartitionOffsets } from '../kafka/client'
import { otherMembers, type GroupMember } from '../kafka/group-members'
import type { IngestStatus } from '../contract/messages'
import { PipelineClient } from './pipeline-client'

export interface PartitionStatus {
  partition: number
  poller: number | null
  position: number | null
  end: number
  lag: number
  /** ISO 8601; null before the first event. */
  watermark: string | null
  idle: boolean
  records: number
  hits: number
  late: number
  rejected: number
}

export interface PipelineStatus {
  group: string
  topic: string
  state: PipelineState
  pollers: { wanted: number; running: number[] }
  lag: number
  /** No event before this time is awaited any more. */
  frontier: string | null
  /** A closing window was told to close, and has not yet answered that Postgres has all of it. */
  windows: { open: number; oldestOpen: string | null; closing: number; closed: number }
  /** Windows that should be closed and are not. Times are epoch milliseconds. */
  unsettled: UnsettledWindow[]
  windowSize: number
  totals: RangeTotals
  partitions: PartitionStatus[]
  /** Members of the Kafka group that are not pollers of this pipeline. */
  otherMembers: GroupMember[]
  webUi: string | null
}

/** @throws UserError if the pipeline was never started, or no worker answers */
export async function pipelineStatus(client: Client, config: Config): Promise<PipelineStatus> {
  const pipeline = new PipelineClient(client, config)
  const ingest = await pipeline.requireStatus()
  const id = await pipeline.id()
  const { group, topic } = config.settings
  return withAdmin(config.kafka, async admin => {
    const offsets = await topicOffsets(admin, topic)
    return { ...summarise(ingest, offsets, config), otherMembers: await otherMembers(admin, group, id) }
  })
}

export type PipelineState = 'running' | 'draining' | 'paused' | 'stopped'

export function stateOf({
  pollers,
  running,
  paused,
}: Pick<IngestStatus, 'pollers' | 'running' | 'paused'>): PipelineState {
  if (pollers > 0) return 'running'
  if (running.length > 0) return 'draining'
  return paused > 0 ? 'paused' : 'stopped'
}

function summarise(
  { ledger, pollers, paused, running, settings, frontier }: IngestStatus,
  offsets: PartitionOffsets[],
  { settings: { group, topic } }: Config,
): Omit<PipelineStatus, 'otherMembers'> {
  const partitions = offsets.map(({ partition, low, high }): PartitionStatus => {
    const entry = ledger.partitions[partition]
    const at = watermark(entry?.basis ?? null, settings.watermarkDelay)
    return {
      partition,
      poller: entry?.poller ?? null,
      position: entry?.position ?? null,
      end: high,
      lag: Math.max(0, high - (entry?.position ?? low)),
      watermark: Number.isFinite(at) ? formatInstant(at) : null,
      idle: entry?.idleAt !== null && entry?.idleAt !== undefined,
      ...(entry?.totals ?? { records: 0, hits: 0, late: 0, rejected: 0 }),
    }
  })
  const [oldest] = ledger.openWindows
  const closing = ledger.books?.closing ?? []
  return {
    group,
    topic,
    state: stateOf({ pollers, paused, running }),
    pollers: { wanted: pollers, running },
    lag: partitions.reduce((sum, { lag }) => sum + lag, 0),
    frontier: frontier === null ? null : formatInstant(frontier),
    windows: {
      open: ledger.openWindows.length,
      oldestOpen: oldest === undefined ? null : formatInstant(oldest),
      closing: closing.length,
      closed: ledger.closed - closing.length,
    },
    unsettled: unsettledWindows(closing, Date.now()),
    windowSize: settings.windowSize,
    totals: totalsOf(ledger),
    partitions,
    webUi: process.env.TEMPORAL_UI_URL ?? null,
  }
}
