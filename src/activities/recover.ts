import { WorkflowNotFoundError } from '@temporalio/common'
import { isBalanced, type AppliedPartition, type StagedPieces, type ToldBook } from '../core/window/protocol'
import { pieceId, windowId } from '../contract/ids'
import type { WindowSelection } from '../core/window/recount'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/window/tumbling-window'
import { balanceOf } from '../postgres/books'
import { bookedWithoutResult, windowsWithResult } from '../postgres/closed-windows'
import { findWindow } from '../postgres/open-window'
import { publishWindow } from '../postgres/publish-window'
import { recordClosed } from '../postgres/record-closed'
import { recordExceptions } from '../postgres/record-exceptions'
import { StagedDeltasMissingError } from '../postgres/staged-deltas'
import { PiecesMissingError, stagePiece } from '../postgres/staged-pieces'
import { findWindowRow } from '../postgres/window-row'
import { runsSince, writesOf, type Run } from './histories'
import { askLedger, repairFrom, stretchesOf, type RepairDependencies } from './repair'
import type {
  RecordClosedInput,
  Recovered,
  RecoverInput,
  StagePieceInput,
  WriteWindowInput,
} from '../contract/activities'

type Dependencies = RepairDependencies

interface RecordExceptionsInput {
  settings: PipelineSettings
  ranges: Parameters<typeof recordExceptions>[3][]
}

/**
 * Writes to Postgres again what the histories of workflows say was written since a time: windows, pieces of those that
 * go on, late and rejected records. Every step is the one that was taken then, with the same input, and each is
 * idempotent, so that what is there stays as it is. Windows that no history has all of are counted again from Kafka.
 */
export async function recoverWrites(input: RecoverInput, outside: Dependencies): Promise<Recovered> {
  const recovery = new Recovery(input, outside)
  await recovery.exceptions()
  await recovery.pieces()
  await recovery.windows()
  await recovery.repairs()
  return recovery.recovered
}

/** The steps of a window that changed what readers see. */
const WINDOW_WRITES = ['writeWindow', 'recordClosed', 'recordExceptions']

class Recovery {
  readonly repaired: string[] = []
  readonly incomplete: { window: string; reason: string }[] = []
  readonly recovered: Recovered = {
    ...{ windows: 0, there: 0, ranges: 0, lateHits: 0, contradictory: [] },
    ...{ repaired: this.repaired, incomplete: this.incomplete },
  }
  /** What each window had applied when it was written, and what it was told; by start. */
  private readonly seen = new Map<number, { applied: AppliedPartition[]; books: ToldBook[] }>()
  /** Windows of which a write could not be taken again. */
  private readonly lacking = new Set<number>()
  private windowRuns: Run[] = []

  constructor(
    private readonly input: RecoverInput,
    private readonly outside: Dependencies,
  ) {}

  /** Those that an older release had workflows for. */
  async exceptions(): Promise<void> {
    for await (const run of this.runs('exceptions'))
      for (const { input } of await this.writes(run, 'recordExceptions'))
        await this.recordExceptions(input as RecordExceptionsInput)
  }

  private async recordExceptions({ settings, ranges }: RecordExceptionsInput): Promise<void> {
    for (const range of ranges)
      if (await recordExceptions(this.outside.db, settings.topic, settings.windowSize, range))
        this.recovered.ranges++
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
    for await (const run of this.runs('window')) this.windowRuns.push(run)
    this.windowRuns.sort((a, b) => a.startTime.getTime() - b.startTime.getTime())
    for (const run of this.windowRuns) {
      for (const { activity, input } of await this.writes(run, ...WINDOW_WRITES)) {
        if (activity === 'recordExceptions') await this.recordExceptions(input as RecordExceptionsInput)
        else if (activity === 'writeWindow') await this.tried(input as WriteWindowInput, i => this.publish(i))
        else if (activity === 'recordClosed')
          await this.tried(input as RecordClosedInput, i => this.recordLate(i))
      }
      if (run.running) await this.stageOwn(run)
    }
  }

  /** What pollers had put into Postgres themselves is in no history: then the window is counted again from Kafka. */
  private async tried<Input extends WriteWindowInput | RecordClosedInput>(
    input: Input,
    write: (input: Input) => Promise<void>,
  ): Promise<void> {
    this.note(input)
    try {
      await write(input)
    } catch (error) {
      if (!(error instanceof StagedDeltasMissingError) && !(error instanceof PiecesMissingError)) throw error
      this.lacking.add(input.start)
    }
  }

  private note(input: WriteWindowInput | RecordClosedInput): void {
    const known = this.seen.get(input.start) ?? { applied: [], books: [] }
    const applied = 'applied' in input ? input.applied : input.deltas
    for (const { partition, from, basis, last } of applied) {
      const before = known.applied.find(other => other.partition === partition)
      if (!before) known.applied.push({ partition, from, basis, last })
      else before.last = Math.max(before.last, last)
    }
    known.books.push(...(input.books ?? []))
    this.seen.set(input.start, known)
  }

  /** Windows that are not what they were told are counted again from Kafka. */
  async repairs(): Promise<void> {
    const { settings } = this.input
    for (const [start, { applied, books }] of this.seen) {
      const window = formatInstant(start)
      if (this.recovered.contradictory.includes(window)) continue
      const balance = await balanceOf(this.outside.db, start)
      if (!this.lacking.has(start) && (!balance || isBalanced(balance))) continue
      this.outside.signal.throwIfAborted()
      this.outside.report({ ...this.recovered, at: window })
      // What the ledger still waits for is for its workflow to write.
      if (await askLedger(this.outside.client, settings.group, start)) continue
      const row = await findWindowRow(this.outside.db, start)
      const input = { settings, start, acceptLoss: false }
      const sources = [
        ...(row && row.partitions.length > 0 ? [stretchesOf(row.partitions)] : []),
        // Events that came after the window had closed are hits as well then.
        stretchesOf(applied),
      ]
      let reason = ''
      for (const stretches of sources) {
        const done = await repairFrom({ stretches, books }, input, this.outside)
        reason =
          done.outcome === 'incomplete'
            ? `${done.told.hits} hits were counted, and Kafka has ${done.found.hits}`
            : done.outcome === 'refused'
              ? done.reason
              : ''
        if (reason === '') break
      }
      if (reason === '') this.repaired.push(window)
      else this.incomplete.push({ window, reason })
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
    if (count === 0) return
    const own = this.windowRuns.filter(({ workflowId }) => workflowId === windowId(group, start))
    for (const run of own) await this.stageOwn(run, chain)
    for (let number = 1; number <= count; number++) await this.stageOld(pieceId(group, start, chain, number))
  }

  /** Pieces that a window staged itself. */
  private async stageOwn(run: Run, chain?: string): Promise<void> {
    for (const { input } of await this.writes(run, 'stagePiece')) {
      const { number, counts, start, ...key } = input as StagePieceInput
      if (chain === undefined || key.chain === chain)
        await stagePiece(this.outside.db, { start, chain: key.chain }, number, counts)
    }
  }

  /** A piece that an older release had a workflow for. */
  private async stageOld(workflowId: string): Promise<void> {
    try {
      const { runId, startTime } = await this.outside.client.workflow.getHandle(workflowId).describe()
      await this.stage({ workflowId, runId, startTime, running: false })
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error
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
  { db, client }: Pick<Dependencies, 'db' | 'client'>,
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
