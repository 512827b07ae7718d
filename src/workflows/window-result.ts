import type { Delta, Published } from '../core/window/protocol'
import { counted } from '../core/numbers'
import type { WindowSummary } from '../contract/workflows'
import { sink } from './sink'
import type { WindowBooks } from './window-books'
import type { WindowInbox } from './window-inbox'
import type { WindowRun } from './window-run'
import type { GiveUp } from './window-visibility'

/** Publishes and closes a window in Postgres. */
export class WindowResult {
  private written: Omit<Published, 'written'> = { groups: 0, otherHits: 0 }

  constructor(
    private readonly run: WindowRun,
    private readonly books: WindowBooks,
    private readonly inbox: WindowInbox,
  ) {}

  /** Returns false if it gave up: that attempt may still succeed, so the next one takes a higher revision. */
  async write(status: 'published' | 'closed', until: GiveUp = {}): Promise<boolean> {
    const { run } = this
    if (run.changed || run.revision === 0) run.revision++
    run.changed = false
    const { key, name, chain, revision, counts } = run
    const { hits, unlocated, applied, groups, stagedDeltas } = counts
    const pieces = { chain, count: counts.pieces }
    const books = status === 'closed' ? this.books.take() : []
    const parts = pieces.count + stagedDeltas
    const size = `${counted(hits, 'hit')}, ${counted(groups, 'group')}${parts > 0 ? ` and ${parts} staged parts` : ''}`
    const options = { summary: `write ${name}, ${size}, as revision ${revision}, ${status}` }
    const input = {
      ...{ ...key, revision, status, hits, unlocated, counts: counts.columns(), pieces, applied },
      ...(stagedDeltas > 0 && { staged: counts.staged }),
      ...(books.length > 0 && { books }),
    }
    const write = () => sink.writeWindow.executeWithOptions(options, [input])
    const written = await run.visibility.watched(`write revision ${revision}`, write, until)
    if (!written) {
      run.changed = true
      return false
    }
    this.written = written
    await this.books.settle(books, written.balance)
    return true
  }

  /**
   * Records deltas of a closed window; Postgres tells repeats from late ones under the window's lock. A delta that
   * arrives during completion makes the server retry the task, so check again until the inbox is empty.
   *
   * @param pieces how many pieces of deltas were staged before the window was known to be closed
   */
  async recordLate(waiting: Delta[] = [], pieces = 0): Promise<void> {
    const { inbox, run } = this
    const { key, name, chain, counts, visibility } = run
    inbox.putBack(waiting)
    while (!inbox.isEmpty || pieces > 0 || this.books.books.length > 0) {
      const deltas = inbox.takeBatch()
      // The balance covers everything that arrived, so the books go with the last batch.
      const books = inbox.isEmpty ? this.books.take() : []
      const late = { deltas, pieces: { chain, count: pieces }, ...(books.length > 0 && { books }) }
      const summary =
        deltas.length > 0 ? `${deltas.length} deltas after ${name} had closed` : `books of ${name}`
      const record = () => sink.recordClosed.executeWithOptions({ summary }, [{ ...key, ...late }])
      const outcome = await visibility.watched('record late events', record)
      pieces = 0
      run.lateHits += outcome.lateHits
      counts.repeats += outcome.repeats
      counts.overlaps.push(...outcome.overlaps)
      await this.books.settle(books, outcome.balance)
    }
  }

  /** The summary of a window that this run closed. */
  summary(): WindowSummary {
    const { name, revision, lateHits, counts } = this.run
    const { hits, deltas, repeats, overlaps, unlocated } = counts
    const { groups, otherHits } = this.written
    const other = otherHits > 0 ? `, ${counted(otherHits, 'hit')} of further groups under (other)` : ''
    const wrote = `${counted(hits, 'hit')} in ${counted(groups, 'group')}${other}, written as revision ${revision}`
    const unknown =
      unlocated > 0
        ? `; ${counted(unlocated, 'hit')} are under ?? because their lookup failed: replay the window`
        : ''
    const summary = `${name}: ${wrote}${this.lateClause}${unknown}.`
    return { summary, hits, groups, otherHits, revision, deltas, repeats, lateHits, overlaps }
  }

  /** The summary of a window that an earlier run closed. */
  summaryOfClosed(): WindowSummary {
    const { name, revision, lateHits, counts } = this.run
    const { repeats, overlaps } = counts
    const summary = `${name}: was closed before, as revision ${revision}${this.lateClause}.`
    const none = { hits: 0, groups: 0, otherHits: 0, deltas: 0 }
    return { summary, ...none, revision, repeats, lateHits, overlaps }
  }

  private get lateClause(): string {
    const { lateHits } = this.run
    return lateHits > 0
      ? `; ${counted(lateHits, 'hit')} came after it had closed and were counted as late`
      : ''
  }
}
