import { existsSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tsToMs } from '@temporalio/common/lib/time'
import type { WorkflowHandle } from '@temporalio/client'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { bundleWorkflowCode, DefaultLogger, Runtime, type WorkflowBundle } from '@temporalio/worker'
import type {
  Activities,
  RecordClosedInput,
  StagePieceInput,
  WindowInput,
  WriteWindowInput,
} from '../../src/contract/activities'
import { packageRoot } from '../../src/package-root'
import { findTemporalProgram } from '../../src/dev/cluster/temporal-program'
import { groups, type ColumnarCounts } from '../../src/core/counts/columnar'
import type {
  AppliedPartition,
  Balance,
  ClosedOutcome,
  Delta,
  RangeExceptions,
  ToldBook,
} from '../../src/core/window/protocol'
import { classifyDelta } from '../../src/core/window/window-state'
import { rowsOf } from '../core/support'
import { workflowSources } from '../../src/workers/bundle-workflows'
import { searchAttributes } from '../../src/contract/search-attributes'
import { until } from '../support/until'

export const MINUTE = 60_000

/** Logs only the SDK's own errors: tests provoke failing attempts and the workflow logs about them. */
export function quietRuntime(): void {
  const logger = new DefaultLogger('ERROR', ({ message, meta }) => {
    if (meta?.sdkComponent !== 'workflow') console.error(message, meta)
  })
  Runtime.install({ logger, telemetryOptions: { logging: { forward: {} } } })
}

/** Bundles the workflows from the sources; the first test file of a run does it for all. */
export async function bundleWorkflows(): Promise<WorkflowBundle> {
  const file = join(process.env.WEB_TRAFFIC_TEST_CLUSTER!, 'workflows.js')
  if (existsSync(file)) return { code: await readFile(file, 'utf8') }
  const bundle = await bundleFresh(workflowSources.workflowsPath)
  const draft = `${file}.${process.pid}`
  await writeFile(draft, bundle.code)
  await rename(draft, file)
  return bundle
}

export function bundleFresh(workflowsPath: string): Promise<WorkflowBundle> {
  const silent = () => undefined
  return bundleWorkflowCode({
    ...workflowSources,
    workflowsPath,
    logger: { log: silent, trace: silent, debug: silent, info: silent, warn: silent, error: silent },
  })
}

/** A separate server that suggests continuing as new after a few dozen events. */
export async function createEarlyServer(): Promise<TestWorkflowEnvironment> {
  const { file: path } = await findTemporalProgram({
    dir: tmpdir(),
    cache: join(packageRoot(), 'node_modules', '.cache', 'web-traffic'),
    environment: process.env,
    report: () => undefined,
    signal: new AbortController().signal,
  })
  const executable = { type: 'existing-path', path } as const
  const extraArgs = ['--dynamic-config-value', 'limit.historyCount.suggestContinueAsNew=40']
  const log = { format: 'pretty', level: 'error' }
  return TestWorkflowEnvironment.createLocal({ server: { executable, extraArgs, searchAttributes, log } })
}

export { newSettings } from '../support/settings'

/** A delta of the offsets `[first, last]`, all in one group. */
export function newDelta(
  partition: number,
  first: number,
  last: number,
  { host = 'a.example', referrer = '', country = 'DE', hits = last - first + 1 } = {},
): Delta {
  const counts = { hosts: [host], referrers: [referrer], countries: [country], rows: rowsOf([0, 0, 0, hits]) }
  return { partition, from: first, basis: null, first, last, hits, ...counts }
}

/** `host referrer country` to hits. */
export function countsOf(...all: ColumnarCounts[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const columns of all)
    for (const { host, referrer, country, hits } of groups(columns)) {
      const key = `${host} ${referrer} ${country}`
      counts[key] = (counts[key] ?? 0) + hits
    }
  return counts
}

type Step = 'openWindow' | 'writeWindow' | 'stagePiece' | 'recordClosed' | 'recordExceptions'
type WindowActivities = Pick<Activities, Step>

/** Stands in for Postgres behind the activities of windows; `before` injects failures and delays. */
export class MemorySink implements WindowActivities {
  readonly attempts = { openWindow: 0, writeWindow: 0, stagePiece: 0, recordClosed: 0, recordExceptions: 0 }
  before: Partial<Record<Step, (attempt: number) => void | Promise<void>>> = {}
  readonly writes: WriteWindowInput[] = []
  /** Revisions that were closed without new counts. */
  readonly closed: number[] = []
  readonly late: Delta[] = []
  readonly calls: Delta[][] = []
  /** Late and rejected records, each range once. */
  readonly exceptions: RangeExceptions[] = []
  private readonly books = new Map<number, ToldBook>()
  /** The newest result, including pieces. */
  totals: Record<string, number> = {}
  private readonly pieces = new Map<string, ColumnarCounts[]>()
  private readonly windows = new Map<number, { revision: number; applied: AppliedPartition[] }>()

  /** An earlier run or a repair has closed the window, which drops its pieces. */
  closedBefore(start: number, revision: number, applied: AppliedPartition[]): void {
    this.windows.set(start, { revision, applied })
    this.pieces.clear()
  }

  private async attempt(step: Step): Promise<void> {
    this.attempts[step]++
    await this.before[step]?.(this.attempts[step])
  }

  async openWindow({ start }: WindowInput) {
    await this.attempt('openWindow')
    return this.windows.get(start) ?? null
  }

  async writeWindow(input: WriteWindowInput) {
    await this.attempt('writeWindow')
    const { start, revision, applied, counts, pieces } = input
    const staged = this.staged(pieces)
    const written = (this.windows.get(start)?.revision ?? 0) < revision
    const groups = counts.rows.length / 4
    if (input.status === 'closed' && !written) this.closed.push(revision)
    if (written) {
      this.writes.push(input)
      this.windows.set(start, { revision, applied })
      this.totals = countsOf(...staged.flat(), counts)
    }
    return { written, groups, otherHits: 0, ...this.settle(input.books) }
  }

  private settle(books: ToldBook[] | undefined): { balance?: Balance } {
    if (!books) return {}
    for (const book of books) this.books.set(book.book, book)
    const told = { hits: 0, exceptions: 0 }
    for (const book of this.books.values())
      if ('hits' in book) {
        told.hits += book.hits
        told.exceptions += book.exceptions
      }
    const hits = Object.values(this.totals).reduce((sum, hits) => sum + hits, 0)
    const late = this.late.reduce((sum, delta) => sum + delta.hits, 0)
    const rejected = this.exceptions.flatMap(range => Object.values(range.rejected))
    const exceptions = rejected.reduce((sum, records) => sum + records, 0)
    return { balance: { told, accounted: { hits: hits + late, exceptions } } }
  }

  async recordExceptions({ ranges }: { ranges: RangeExceptions[] }): Promise<number> {
    await this.attempt('recordExceptions')
    const isKnown = ({ partition, from }: RangeExceptions) =>
      this.exceptions.some(known => known.partition === partition && known.from === from)
    const added = ranges.filter(range => !isKnown(range))
    this.exceptions.push(...added)
    return added.length
  }

  async stagePiece({ chain, number, counts }: StagePieceInput) {
    await this.attempt('stagePiece')
    this.pieces.set(`${chain} ${number}`, counts)
  }

  private staged({ chain, count } = { chain: '', count: 0 }): ColumnarCounts[][] {
    return Array.from({ length: count }, (_, i) => {
      const counts = this.pieces.get(`${chain} ${i + 1}`)
      if (!counts) throw new Error(`piece ${i + 1} is not there yet`)
      return counts
    })
  }

  async recordClosed({ start, deltas, pieces, books }: RecordClosedInput): Promise<ClosedOutcome> {
    await this.attempt('recordClosed')
    const window = this.windows.get(start)
    if (!window) throw new Error('a window that was never published has no late deltas')
    const all = [...(this.staged(pieces).flat() as Delta[]), ...deltas]
    this.calls.push(all)
    const outcome: ClosedOutcome = { lateHits: 0, repeats: 0, overlaps: [] }
    for (const delta of all) {
      const known = window.applied.find(({ partition }) => partition === delta.partition)
      const verdict = classifyDelta(delta, known?.last)
      if (verdict === 'repeat') outcome.repeats++
      if (verdict === 'overlap')
        outcome.overlaps.push({ partition: delta.partition, first: delta.first, last: delta.last })
      if (verdict !== 'applied') continue
      this.late.push(delta)
      outcome.lateHits += delta.hits
      const { partition, from, basis, last } = delta
      if (known) known.last = last
      else window.applied.push({ partition, from, basis, last })
    }
    return { ...outcome, ...this.settle(books) }
  }
}

/** The activities of windows for one worker, with one sink per pipeline. */
export function sinkActivities(sinks: Map<string, MemorySink>): WindowActivities {
  const sink = ({ settings }: WindowInput) => sinks.get(settings.group)!
  return {
    openWindow: input => sink(input).openWindow(input),
    writeWindow: input => sink(input).writeWindow(input),
    stagePiece: input => sink(input).stagePiece(input),
    recordClosed: input => sink(input).recordClosed(input),
    recordExceptions: input => sinks.get(input.settings.group)!.recordExceptions(input),
  }
}

export interface HistoryEvent {
  /** Server time, epoch ms. */
  at: number
  kind:
    | 'signal'
    | 'timer fired'
    | 'task completed'
    | 'task failed'
    | 'activity'
    | 'activity done'
    | 'activity failed'
    | 'signals other'
    | 'child refused'
  /** Name of the signal or activity. */
  name: string
}

/** The relevant events of a workflow's history, in order. */
export async function historyOf(handle: WorkflowHandle): Promise<HistoryEvent[]> {
  const { events } = await handle.fetchHistory()
  const result: HistoryEvent[] = []
  for (const event of events ?? []) {
    const at = tsToMs(event.eventTime)
    const add = (kind: HistoryEvent['kind'], name = '') => result.push({ at, kind, name })
    const signal = event.workflowExecutionSignaledEventAttributes
    const activity = event.activityTaskScheduledEventAttributes
    const other = event.signalExternalWorkflowExecutionInitiatedEventAttributes
    if (signal) add('signal', signal.signalName ?? '')
    if (event.timerFiredEventAttributes) add('timer fired')
    if (event.workflowTaskCompletedEventAttributes) add('task completed')
    if (event.workflowTaskFailedEventAttributes)
      add('task failed', String(event.workflowTaskFailedEventAttributes.cause))
    if (activity) add('activity', activity.activityType?.name ?? '')
    if (event.activityTaskCompletedEventAttributes) add('activity done')
    if (event.activityTaskFailedEventAttributes) add('activity failed')
    if (event.startChildWorkflowExecutionFailedEventAttributes) add('child refused')
    if (other) add('signals other', other.signalName ?? '')
  }
  return result
}

/** Waits until the history contains such an event and the commands that followed it. */
export async function untilHandled(
  handle: WorkflowHandle,
  is: (event: HistoryEvent) => boolean,
): Promise<HistoryEvent[]> {
  let events: HistoryEvent[] = []
  await until(async () => {
    events = await historyOf(handle)
    const index = events.findIndex(is)
    return index >= 0 && events.slice(index).some(({ kind }) => kind === 'task completed')
  })
  return events
}
