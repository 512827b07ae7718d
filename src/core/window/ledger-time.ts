/**
 * What a poller knows of the ledger's time (epoch ms): the time in the ledger's last answer plus what has passed since then.
 * Answers take time to arrive, so it may be behind, but not ahead. A clock that only measures durations is enough: the
 * machine's time of day may be wrong or jump.
 */
export class LedgerTime {
  /** The ledger's time when that clock was at zero. */
  private zero = -Infinity

  /**
   * Takes the time of an answer that has just arrived.
   *
   * @param elapsed of a clock that only measures durations, ms
   */
  answered(now: number, elapsed: number): void {
    this.zero = now - elapsed
  }

  /** The ledger had at least this time when the clock showed `elapsed`; before the first answer it may be any. */
  at(elapsed: number): number {
    return Math.floor(this.zero + elapsed)
  }
}
