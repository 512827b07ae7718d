import { stateOf } from '../pipeline/status'
import { Ledger } from '../core/window/ledger'
import { windowId } from '../contract/ids'
import { describeUnsettled, NAMED_UNSETTLED, unsettledWindows } from '../contract/unsettled'
import { watermark } from '../core/window/watermark'
import type { IngestStatus, WindowProgress } from '../contract/messages'
import type { PartitionSummary, PipelineSummary, Waiting } from './api'

/** Limits the windows shown, because each takes a query: so many closing, oldest open and newest open ones. */
export const MAX_SHOWN = 6
const MAX_NAMED_PARTITIONS = 5

/** URL of a workflow in the Temporal Web UI; null if the Web UI's address is unknown. */
export type WorkflowUrl = (workflowId: string) => string | null

export function workflowUrls(webUi: string | undefined, namespace: string): WorkflowUrl {
  if (webUi === undefined) return () => null
  const base = `${webUi.replace(/\/+$/, '')}/namespaces/${encodeURIComponent(namespace)}/workflows/`
  return workflowId => base + encodeURIComponent(workflowId)
}

/** Oldest first, as `open` is. */
export function shownWindows(open: number[]): number[] {
  return open.length <= 2 * MAX_SHOWN ? open : [...open.slice(0, MAX_SHOWN), ...open.slice(-MAX_SHOWN)]
}

/** @param progress of the closing and open windows to show, by start; undefined if the workflow did not answer */
export function summarizePipeline(
  status: IngestStatus,
  progress: Map<number, WindowProgress | undefined>,
  workflowUrl: WorkflowUrl,
): PipelineSummary {
  const { settings, ledger: state } = status
  const { group, topic, windowSize, watermarkDelay } = settings
  const ledger = new Ledger(settings, state)
  const open = new Set(state.openWindows)
  // A closing window may have closed since it was listed.
  const shown = [...progress].filter(([start, window]) => open.has(start) || window?.state !== 'closed')
  // A stuck window that is shown gives its own reason.
  const unsettled = unsettledWindows(ledger.closing, Date.now()).filter(
    ({ start, balance }) => balance !== null || !progress.get(start)?.stuck,
  )
  return {
    group,
    topic,
    windowSize,
    state: stateOf(status),
    closed: ledger.windowCounts.closed,
    unsettled: unsettled.slice(0, NAMED_UNSETTLED).map(window => describeUnsettled(window, windowSize)),
    unsettledCount: unsettled.length,
    openCount: open.size + shown.filter(([start]) => !open.has(start)).length,
    open: shown.map(([start, window]) => ({
      start,
      end: start + windowSize,
      due: start + windowSize + watermarkDelay,
      progress: window ?? null,
      workflow: workflowUrl(windowId(group, start)),
    })),
    waiting: waitingFor(ledger),
    partitions: summarizePartitions(ledger, watermarkDelay),
  }
}

function waitingFor({ oldestWaiting }: Ledger): Waiting | null {
  if (!oldestWaiting) return null
  const { until, holders } = oldestWaiting
  return { until, partitions: holders.slice(0, MAX_NAMED_PARTITIONS), count: holders.length }
}

function summarizePartitions(ledger: Ledger, watermarkDelay: number): PartitionSummary[] {
  return Object.entries(ledger.partitions).map(([partition, { basis, poller, position, idleAt, totals }]) => {
    const at = watermark(basis, watermarkDelay)
    return {
      partition: Number(partition),
      poller,
      position,
      watermark: Number.isFinite(at) ? at : null,
      idle: idleAt !== null,
      ...totals,
    }
  })
}
