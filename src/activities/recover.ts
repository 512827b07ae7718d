import type { Client } from '@temporalio/client'
import type { AppliedPartition, StagedPieces } from '../core/messages'
import { pieceId, windowId } from '../core/names'
import type { WindowSelection } from '../core/recount'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/tumbling-window'
import { bookedWithoutResult, windowsWithResult } from '../postgres/closed-windows'
import type { Db } from '../postgres/database'
import { findWindow } from '../postgres/open-window'
import { publishWindow } from '../postgres/publish-window'
import { recordClosed, recordExceptions } from '../postgres/record-exceptions'
import { stagePiece } from '../postgres/staged-pieces'
import { runsSince, writesOf, type Run } from './histories'
import type { RecordClosedInput, Recovered, RecoverInput, StagePieceInput, WriteWindowInput } from './types'

interface Outside {
  db: Db
  client: Client
  signal: AbortSignal
  /** Of the heartbeat. */
  report: (progress: object) => void
}

interface RecordExceptionsInput {
  settings: PipelineSettings
  ranges: Parameters<typeof recordExceptions>[3][]
}

/**
 * Writes to Postgres again what the histories of workflows say was written since a time: windows, pieces of those that
 * go on, late and rejected records. Every step is the one that was taken then, with the same input, and each is
 * idempotent, so that what is there stays as it is.
 */
export async function recoverWrites(input: RecoverInput, outside: Outside): Promise<Recovered> {
  const recovery = new Recovery(input, outside)
  await recovery.exceptions()
  await recovery.pieces()
  await recovery.windows()
  return recovery.recovered
}

class Recovery {
  readonly recovered: Recovered = { windows: 0, there: 0, ranges: 0, lateHits: 0, contradictory: [] }

  constructor(
    private readonly input: RecoverInput,
    private readonly outside: Outside,
  ) {}

  async exceptions(): Promise<void> {
    for await (const run of this.runs('exceptions'))
      for (const { input } of await this.writes(run, 'recordExceptions')) {
        const { settings, ranges } = input as RecordExceptionsInput
        for (const range of ranges)
          if (await recordExceptions(this.outside.db, settings.topic, settings.windowSize, range))
            this.recovered.ranges++
      }
  }

  /** Of windows that go on: their workflow will ask for them. Those of others come with the window. */
  async pieces(): Promise<void> {
    const { client } = this.outside
    for await (const run of this.runs('piece')) {
      const [window] = run.workflowId.split('/piece/') as [string]
      const { status } = await client.workflow.getHandle(window).describe()
      if (status.name === 'RUNNING') await this.stage(run)
    }
  }

  /** Each window's runs in their order: what came after it had closed finds it closed. */
  async windows(): Promise<void> {
    const runs: Run[] = []
    for await (const run of this.runs('window')) runs.push(run)
    runs.sort((a, b) => a.startTime.getTime() - b.startTime.getTime())
    for (const run of runs)
      for (const { activity, input } of await this.writes(run, 'writeWindow', 'recordClosed')) {
        if (activity === 'writeWindow') await this.publish(input as WriteWindowInput)
        else await this.recordLate(input as RecordClosedInput)
      }
  }

  private async publish({ settings, ...result }: WriteWindowInput): Promise<void> {
    const { db } = this.outside
    const { recovered } = this
    const known = await findWindow(db, result.start)
    if (known && known.revision >= result.revision) {
      if (covers(known.applied, result.applied)) recovered.there++
      else recovered.contradictory.push(formatInstant(result.start))
      return
    }
    await this.stageAll(settings, result.start, result.pieces)
    const { windowSize, maxGroups } = settings
    await publishWindow(db, { end: result.start + windowSize, maxGroups, ...result })
    recovered.windows++
  }

  private async recordLate({ settings, ...closed }: RecordClosedInput): Promise<void> {
    const { db } = this.outside
    await this.stageAll(settings, closed.start, closed.pieces)
    const { lateHits } = await recordClosed(db, {
      topic: settings.topic,
      windowSize: settings.windowSize,
      ...closed,
    })
    this.recovered.lateHits += lateHits
  }

  private async stageAll(
    { group }: PipelineSettings,
    start: number,
    { chain, count }: StagedPieces = { chain: '', count: 0 },
  ): Promise<void> {
    for (let number = 1; number <= count; number++) {
      const workflowId = pieceId(group, start, chain, number)
      const { runId, startTime } = await this.outside.client.workflow.getHandle(workflowId).describe()
      await this.stage({ workflowId, runId, startTime, running: false })
    }
  }

  private async stage(run: Run): Promise<void> {
    for (const { input } of await this.writes(run, 'stagePiece')) {
      const { number, counts, start, chain } = input as StagePieceInput
      await stagePiece(this.outside.db, { start, chain }, number, counts)
    }
  }

  private runs(kind: 'window' | 'piece' | 'exceptions'): AsyncGenerator<Run> {
    const { settings, since } = this.input
    return runsSince(this.outside.client, settings.group, kind, since)
  }

  private async writes(run: Run, ...activities: string[]) {
    this.outside.signal.throwIfAborted()
    this.outside.report({ ...this.recovered, at: run.workflowId })
    const writes = await writesOf(this.outside.client, run)
    return writes.filter(({ activity }) => activities.includes(activity))
  }
}

/** Whether everything that was applied is known: otherwise the row is of another run, which did not have it. */
function covers(known: AppliedPartition[], applied: AppliedPartition[]): boolean {
  const last = new Map(known.map(partition => [partition.partition, partition.last]))
  return applied.every(partition => (last.get(partition.partition) ?? -1) >= partition.last)
}

/** Starts of windows that were closed by what Temporal remembers, and of which Postgres has no result. */
export async function findMissing(
  { settings: { group, windowSize }, from, to }: { settings: PipelineSettings } & WindowSelection,
  { db, client }: Pick<Outside, 'db' | 'client'>,
): Promise<number[]> {
  const bounds = [
    ...(from === undefined ? [] : [`WindowStart >= '${formatInstant(from)}'`]),
    ...(to === undefined ? [] : [`WindowEnd <= '${formatInstant(to)}'`]),
  ]
  const query = [`Pipeline = '${group}'`, `WorkflowType = 'window'`, `WindowStatus = 'closed'`, ...bounds]
  const prefix = windowId(group, 0).slice(0, -formatInstant(0).length)
  const starts = new Set<number>()
  for await (const { workflowId } of client.workflow.list({ query: query.join(' AND ') }))
    starts.add(Date.parse(workflowId.slice(prefix.length)))
  for (const start of await bookedWithoutResult(db, { ...(from && { from }), ...(to && { to }) }, windowSize))
    starts.add(start)
  const known = await windowsWithResult(db, [...starts])
  return [...starts].filter(start => !known.has(start)).sort((a, b) => a - b)
}
