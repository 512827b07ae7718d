import { WorkflowNotFoundError } from '@temporalio/common'
import type {
  Activities,
  RecordClosedInput,
  Recovered,
  RecoverInput,
  SelectionInput,
  StagePieceInput,
  WriteWindowInput,
} from '../contract/activities'
import { pieceId, windowId } from '../contract/ids'
import type { PipelineSettings } from '../core/settings'
import { isBalanced, type AppliedPartition, type StagedPieces, type ToldBook } from '../core/window/protocol'
import { formatInstant } from '../core/window/tumbling-window'
import { balanceOf } from '../postgres/books'
import { bookedWithoutResult, windowsWithResult } from '../postgres/closed-windows'
import { findWindow } from '../postgres/open-window'
import { publishWindow } from '../postgres/publish-window'
import { recordClosed } from '../postgres/record-closed'
import { recordExceptions } from '../postgres/record-exceptions'
import { findWindowRow } from '../postgres/window-row'
import { StagedDeltasMissingError } from '../postgres/staged-deltas'
import { PiecesMissingError, stagePiece } from '../postgres/staged-pieces'
import { runsSince, writesOf, type Run, type Write } from './histories'
import type { RecountDependencies } from './recount'
import { askLedger, repairFrom, stretchesOf } from './repair'

/**
 * Repeats the writes to Postgres that the histories of workflows show since a given time. Every write has its original
 * input and is idempotent, so existing results stay. Windows that no history has completely are counted again from Kafka.
 */
export async function recoverWrites(
  input: RecoverInput,
  dependencies: RecountDependencies,
): Promise<Recovered> {
  const recovery = new Recovery(input, dependencies)
  await recovery.recoverExceptions()
  await recovery.recoverPieces()
  await recovery.recoverWindows()
  await recovery.repairWindows()
  return recovery.recovered
}

class Recovery {
  readonly recovered: Required<Recovered> = {
    windows: 0,
    there: 0,
    ranges: 0,
    lateHits: 0,
    contradictory: [],
    repaired: [],
    incomplete: [],
  }
  /** What the writes of each window contained, by its start. */
  private readonly seen = new Map<number, { applied: AppliedPartition[]; books: ToldBook[] }>()
  /** Windows of which a write could not be repeated. */
  private readonly incomplete = new Set<number>()
  private windowRuns: Run[] = []

  constructor(
    private readonly input: RecoverInput,
    private readonly dependencies: RecountDependencies,
  ) {}

  /** `exceptions` workflows are from an earlier release. */
  async recoverExceptions(): Promise<void> {
    for await (const run of this.runs('exceptions')) await this.repeatWrites(run, 'recordExceptions')
  }

  /** `piece` workflows are from an earlier release. Only windows that still run need them now. */
  async recoverPieces(): Promise<void> {
    const { client } = this.dependencies
    for await (const run of this.runs('piece')) {
      const [window] = run.workflowId.split('/piece/') as [string]
      const { status } = await client.workflow.getHandle(window).describe()
      if (status.name === 'RUNNING') await this.stagePieces(run)
    }
  }

  /** Oldest run first, so that later runs of a window find it closed, as they did originally. */
  async recoverWindows(): Promise<void> {
    for await (const run of this.runs('window')) this.windowRuns.push(run)
    this.windowRuns.sort((a, b) => a.startTime.getTime() - b.startTime.getTime())
    for (const run of this.windowRuns) {
      await this.repeatWrites(run, 'writeWindow', 'recordClosed', 'recordExceptions')
      if (run.running) await this.stagePieces(run)
    }
  }

  /** Counts windows again whose books do not balance, or of which a write could not be repeated. */
  async repairWindows(): Promise<void> {
    const { settings } = this.input
    const { db, client, signal } = this.dependencies
    for (const [start, { applied, books }] of this.seen) {
      const window = formatInstant(start)
      if (this.recovered.contradictory.includes(window)) continue
      const balance = await balanceOf(db, start)
      if (!this.incomplete.has(start) && (!balance || isBalanced(balance))) continue
      signal.throwIfAborted()
      this.report(window)
      // The ledger still waits for the window, and its workflow will write it.
      if (await askLedger(client, settings.group, start)) continue
      const reason = await this.repair(start, applied, books)
      if (reason === undefined) this.recovered.repaired.push(window)
      else this.recovered.incomplete.push({ window, reason })
    }
  }

  private async repair(
    start: number,
    applied: AppliedPartition[],
    books: ToldBook[],
  ): Promise<string | undefined> {
    const input = { settings: this.input.settings, start, acceptLoss: false }
    const row = await findWindowRow(this.dependencies.db, start)
    // By the second source, events that came after the window had closed are hits too.
    const sources = row && row.partitions.length > 0 ? [row.partitions, applied] : [applied]
    let reason: string | undefined
    for (const source of sources) {
      const done = await repairFrom({ stretches: stretchesOf(source), books }, input, this.dependencies)
      if (done.outcome === 'refused') reason = done.reason
      else if (done.outcome !== 'incomplete') return undefined
      else reason = `${done.told.hits} hits were counted, and Kafka has ${done.found.hits}`
    }
    return reason
  }

  private async repeatWrites(run: Run, ...activities: (keyof Activities)[]): Promise<void> {
    for (const { activity, input } of await this.writes(run, ...activities)) {
      if (activity === 'writeWindow') {
        const write = input as WriteWindowInput
        await this.tryWrite(write, write.applied, () => this.publish(write))
      } else if (activity === 'recordClosed') {
        const write = input as RecordClosedInput
        await this.tryWrite(write, write.deltas, () => this.recordClosed(write))
      } else await this.recordExceptions(input as Parameters<Activities['recordExceptions']>[0])
    }
  }

  private async recordExceptions({
    settings: { topic, windowSize },
    ranges,
  }: Parameters<Activities['recordExceptions']>[0]): Promise<void> {
    for (const range of ranges)
      if (await recordExceptions(this.dependencies.db, topic, windowSize, range)) this.recovered.ranges++
  }

  /** Marks the window as incomplete if the write needs staged deltas, which are in no history. */
  private async tryWrite(
    { start, books }: WriteWindowInput | RecordClosedInput,
    applied: AppliedPartition[],
    write: () => Promise<void>,
  ): Promise<void> {
    const seen = this.seen.get(start) ?? { applied: [], books: [] }
    this.seen.set(start, seen)
    seen.books.push(...(books ?? []))
    for (const { partition, from, basis, last } of applied) {
      const before = seen.applied.find(other => other.partition === partition)
      if (!before) seen.applied.push({ partition, from, basis, last })
      else before.last = Math.max(before.last, last)
    }
    try {
      await write()
    } catch (error) {
      if (!(error instanceof StagedDeltasMissingError) && !(error instanceof PiecesMissingError)) throw error
      this.incomplete.add(start)
    }
  }

  private async publish({ settings, ...result }: WriteWindowInput): Promise<void> {
    const { db } = this.dependencies
    const { start, revision, applied, pieces } = result
    const known = await findWindow(db, start)
    if (known && known.revision >= revision) {
      if (covers(known.applied, applied)) this.recovered.there++
      else this.recovered.contradictory.push(formatInstant(start))
      return
    }
    const { windowSize, maxGroups } = settings
    await this.stageAll(settings, start, pieces)
    await publishWindow(db, { end: start + windowSize, maxGroups, ...result })
    this.recovered.windows++
  }

  private async recordClosed({ settings, ...closed }: RecordClosedInput): Promise<void> {
    const { topic, windowSize } = settings
    await this.stageAll(settings, closed.start, closed.pieces)
    const { lateHits } = await recordClosed(this.dependencies.db, { topic, windowSize, ...closed })
    this.recovered.lateHits += lateHits
  }

  /** Stages the pieces of a window, from its own runs and from the `piece` workflows of an earlier release. */
  private async stageAll({ group }: PipelineSettings, start: number, pieces?: StagedPieces): Promise<void> {
    if (!pieces || pieces.count === 0) return
    const { chain, count } = pieces
    for (const run of this.windowRuns)
      if (run.workflowId === windowId(group, start)) await this.stagePieces(run, chain)
    for (let number = 1; number <= count; number++) {
      const workflowId = pieceId(group, start, chain, number)
      const run = await this.dependencies.client.workflow
        .getHandle(workflowId)
        .describe()
        .catch((error: unknown) => {
          if (error instanceof WorkflowNotFoundError) return undefined
          throw error
        })
      if (run) await this.stagePieces({ ...run, running: false })
    }
  }

  private async stagePieces(run: Run, onlyChain?: string): Promise<void> {
    for (const { input } of await this.writes(run, 'stagePiece')) {
      const { number, counts, start, chain } = input as StagePieceInput
      if (onlyChain === undefined || chain === onlyChain)
        await stagePiece(this.dependencies.db, { start, chain }, number, counts)
    }
  }

  private runs(type: 'window' | 'piece' | 'exceptions'): AsyncGenerator<Run> {
    const { settings, since } = this.input
    return runsSince(this.dependencies.client, settings.group, type, since)
  }

  private async writes(run: Run, ...activities: (keyof Activities)[]): Promise<Write[]> {
    this.dependencies.signal.throwIfAborted()
    this.report(run.workflowId)
    const writes = await writesOf(this.dependencies.client, run)
    return writes.filter(({ activity }) => activities.includes(activity as keyof Activities))
  }

  private report(at: string): void {
    this.dependencies.report({ ...this.recovered, at })
  }
}

/** False if the known row is from another run, which did not have everything that was applied. */
function covers(known: AppliedPartition[], applied: AppliedPartition[]): boolean {
  const last = new Map(known.map(partition => [partition.partition, partition.last]))
  return applied.every(partition => (last.get(partition.partition) ?? -1) >= partition.last)
}

/** Starts of windows that closed according to Temporal or the books, and have no result in Postgres. */
export async function findMissing(
  { settings: { group, windowSize }, from, to }: SelectionInput,
  { db, client }: Pick<RecountDependencies, 'db' | 'client'>,
): Promise<number[]> {
  const query = [
    `Pipeline = '${group}' AND WorkflowType = 'window' AND WindowStatus = 'closed'`,
    ...(from === undefined ? [] : [`WindowStart >= '${formatInstant(from)}'`]),
    ...(to === undefined ? [] : [`WindowEnd <= '${formatInstant(to)}'`]),
  ].join(' AND ')
  const prefix = windowId(group, 0).slice(0, -formatInstant(0).length)
  const booked = await bookedWithoutResult(db, { ...(from && { from }), ...(to && { to }) }, windowSize)
  const starts = new Set(booked)
  for await (const { workflowId } of client.workflow.list({ query }))
    starts.add(Date.parse(workflowId.slice(prefix.length)))
  const known = await windowsWithResult(db, [...starts])
  return [...starts].filter(start => !known.has(start)).sort((a, b) => a - b)
}
