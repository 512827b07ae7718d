import type { Client } from '@temporalio/client'
import { Command } from 'commander'
import { loadConfig, type Config } from '../config'
import { formatDuration } from '../core/duration'
import { totalsOf } from '../core/ledger'
import type { RangeTotals } from '../core/messages'
import { formatInstant } from '../core/tumbling-window'
import { unsettledWindows, type UnsettledWindow } from '../core/unsettled'
import { watermark } from '../core/watermark'
import { topicOffsets, withAdmin } from '../kafka/client'
import { withTemporal } from '../temporal'
import type { IngestStatus } from '../workflows/messages'
import { findProblems } from './health'
import { Pipeline, stateOf } from '../pipeline'
import { wholeNumber } from './start'
import { printable, table } from './table'

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
  state: ReturnType<typeof stateOf>
  pollers: { wanted: number; running: number[] }
  lag: number
  /** Up to here no event is awaited any more. */
  frontier: string | null
  /** Those that are closing have been told to, and have not answered that Postgres has all of them. */
  windows: { open: number; oldestOpen: string | null; closing: number; closed: number }
  /** Windows that should be closed and are not; times are epoch milliseconds. */
  unsettled: UnsettledWindow[]
  windowSize: number
  totals: RangeTotals
  partitions: PartitionStatus[]
  webUi: string | null
}

export function statusCommand(): Command {
  return new Command('status')
    .description('how far the pipeline is, and whether it is healthy; exits with 1 where it is not')
    .option('--max-lag <records>', 'unhealthy where more records are unread', wholeNumber)
    .option('--json', 'print as JSON')
    .action(async ({ json, maxLag }: { json?: true; maxLag?: number }) => {
      const config = loadConfig()
      const { status, problems } = await withTemporal(async client => {
        const status = await pipelineStatus(client, config)
        return { status, problems: await findProblems(client, status, maxLag) }
      })
      console.log(
        json ? JSON.stringify({ ...status, problems }, null, 2) : describe(status, problems, config),
      )
      if (problems.length > 0) process.exitCode = 1
    })
}

/** @throws UserError where the pipeline was never started, or no worker answers */
export async function pipelineStatus(client: Client, config: Config): Promise<PipelineStatus> {
  const found = await new Pipeline(client, config).requireStatus()
  const offsets = await withAdmin(config.kafka, admin => topicOffsets(admin, config.settings.topic))
  return summarise(found, offsets, config)
}

function summarise(
  { ledger, pollers, paused, running, settings, frontier }: IngestStatus,
  offsets: { partition: number; low: number; high: number }[],
  { settings: { group, topic } }: Config,
): PipelineStatus {
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

function describe(status: PipelineStatus, problems: string[], { settings }: Config): string {
  const { windows, totals, pollers } = status
  const open = windows.oldestOpen === null ? '' : `, the oldest from ${windows.oldestOpen}`
  return [
    ...(problems.length > 0 ? ['UNHEALTHY', ...problems.map(problem => `  ${printable(problem)}`), ''] : []),
    `${status.group} on ${status.topic}: ${status.state}, ${pollers.running.length} of ${pollers.wanted} pollers, ` +
      `lag ${status.lag.toLocaleString('en-US')}`,
    `windows of ${formatDuration(settings.windowSize)}: ${windows.open} open${open}; ${windows.closing} closing; ${windows.closed} closed`,
    `records ${totals.records} = hits ${totals.hits} + late ${totals.late} + rejected ${totals.rejected}`,
    ...(status.webUi === null ? [] : [`Temporal Web UI: ${status.webUi}`]),
    '',
    table(
      [
        'partition',
        'poller',
        'position',
        'end',
        'lag',
        'watermark',
        'idle',
        'records',
        'hits',
        'late',
        'rejected',
      ],
      status.partitions.map(p => [
        String(p.partition),
        p.poller,
        p.position,
        p.end,
        p.lag,
        p.watermark,
        p.idle ? 'yes' : '',
        p.records,
        p.hits,
        p.late,
        p.rejected,
      ]),
    ),
  ].join('\n')
}
