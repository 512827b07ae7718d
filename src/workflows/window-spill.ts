import { sink } from './sink'
import type { WindowExceptions } from './window-exceptions'
import type { WindowInbox } from './window-inbox'
import type { WindowRun } from './window-run'
import type { GiveUp } from './window-visibility'

/** Moves to Postgres what the window has no room for. */
export class WindowSpill {
  constructor(
    private readonly run: WindowRun,
    private readonly inbox: WindowInbox,
    private readonly exceptions: WindowExceptions,
  ) {}

  get isDue(): boolean {
    return !this.inbox.isEmpty || this.exceptions.areDue
  }

  /** Returns false if it gave up. */
  async makeRoom(until: GiveUp): Promise<boolean> {
    if (this.exceptions.areDue || this.inbox.waitsForExceptions) return this.recordExceptions(until)
    await this.stagePiece()
    return true
  }

  /** Merges every pending delta and records all exceptions, before the window closes. */
  async drain(): Promise<void> {
    const { counts } = this.run
    while (!this.inbox.isEmpty || counts.toRecord.length > 0)
      if (counts.toRecord.length > 0) await this.recordExceptions()
      else await this.stagePiece()
  }

  private async recordExceptions(until?: GiveUp): Promise<boolean> {
    const recorded = await this.exceptions.record(until)
    if (recorded) this.inbox.merge()
    return recorded
  }

  private async stagePiece(): Promise<void> {
    const { key, name, chain, counts, visibility } = this.run
    const piece = counts.cutPiece()
    const options = { summary: `piece ${piece.number} of ${name}` }
    const stage = () => sink.stagePiece.executeWithOptions(options, [{ ...key, chain, ...piece }])
    const staged = visibility.watched(`stage piece ${piece.number}`, stage)
    // The piece has left its room to pending deltas before Postgres has it.
    this.inbox.merge()
    await staged
    this.inbox.merge()
  }
}
