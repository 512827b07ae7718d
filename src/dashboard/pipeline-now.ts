import { stateOf } from '../pipeline/status'
import { Ledger } from '../core/window/ledger'
import { windowId, ingestId } from '../contract/ids'
import { describeUnsettled, NAMED_UNSETTLED, unsettledWindows } from '../contract/unsettled'
import { watermark } from '../core/window/watermark'
import type { IngestStatus, WindowProgress } from '../contract/messages'
import type { OpenWindow, PartitionNow, PipelineNow, Waiting } from './messages'

/**
 * Windows that are shown, of those that are closing, and of the oldest and the newest open ones each: each is a query
 * to its workflow.
 */
export const SHOWN = 6
const NAMED_PARTITIONS = 5

export type WorkflowLink = (workflowId: string) => string | null

/** A workflow's page in the Temporal Web UI. */
export function workflowLinks(webUi: string | undefined, namespace: string): WorkflowLink {
  if (webUi === undefined) return () => null
  const base = `${webUi.replace(/\/+$/, '')}/namespaces/${encodeURIComponent(namespace)}/workflows/`
  return workflowId => base + encodeURIComponent(workflowId)
}

/** Starts of the open windows that are shown, oldest first. */
export function shownWindows(open: number[]): number[] {
  return open.length <= 2 * SHOWN ? open : [...open.slice(0, SHOWN), ...open.slice(-SHOWN)]
}

/**
 * @param progress of the windows that are shown, by start: open ones, and those that were told to close and have not
 *   ended; undefined where the workflow did not answer
 */
export function pipelineNow(
  status: IngestStatus,
  progress: Map<number, WindowProgress | undefined>,
  link: WorkflowLink,
): PipelineNow {
  const { settings, ledger: state } = status
  const ledger = new Ledger(settings, state)
  const open = new Set(state.openWindows)
  // Others were told to close, and may have ended since they were listed.
  const shown = [...progress].filter(([start, known]) => open.has(start) || known?.state !== 'closed')
  const { group, topic, windowSize, watermarkDelay } = settings
  // One that is shown as stuck says why by itself.
  const unsettled = unsettledWindows(ledger.closing, Date.now()).filter(
    ({ start, balance }) => balance !== null || !progress.get(start)?.stuck,
  )
  return {
    group,
    topic,
    state: stateOf(status),
    pollers: { wanted: status.pollers, running: status.running.length },
    windowSize,
    watermarkDelay,
    closed: ledger.windowCounts.closed,
    unsettled: unsettled.slice(0, NAMED_UNSETTLED).map(window => describeUnsettled(window, windowSize)),
    unsettledCount: unsettled.length,
    openCount: open.size + shown.filter(([start]) => !open.has(start)).length,
    open: shown.map(([start, known]): OpenWindow => {
      const end = start + windowSize
      return {
        start,
        end,
        due: end + watermarkDelay,
        state: known?.state ?? 'unknown',
        stuck: known?.stuck ?? null,
        hits: known?.hits ?? null,
        groups: known?.groups ?? null,
        workflow: link(windowId(group, start)),
      }
    }),
    waiting: waitingFor(ledger),
    partitions: partitionsOf(ledger, watermarkDelay),
    workflow: link(ingestId(group)),
  }
}

function waitingFor({ oldestWaiting }: Ledger): Waiting | null {
  if (!oldestWaiting) return null
  const { until, holders } = oldestWaiting
  return { until, partitions: holders.slice(0, NAMED_PARTITIONS), count: holders.length }
}

function partitionsOf(ledger: Ledger, watermarkDelay: number): PartitionNow[] {
  return Object.entries(ledger.partitions).map(([partition, entry]) => {
    const at = watermark(entry.basis, watermarkDelay)
    return {
      partition: Number(partition),
      poller: entry.poller,
      position: entry.position,
      watermark: Number.isFinite(at) ? at : null,
      idle: entry.idleAt !== null,
      ...entry.totals,
    }
  })
}
