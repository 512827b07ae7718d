import { LedgerTime } from '../core/window/ledger-time'
import type { Timed } from '../core/window/protocol'

/** The ledger's time at a poller, by a clock that only measures durations. */
export class LedgerClock {
  private readonly time = new LedgerTime()

  /** A ledger of an older release does not tell its time. */
  read<Answer extends Timed<object>>(answer: Answer): Answer {
    this.time.answered(answer.now ?? Date.now(), performance.now())
    return answer
  }

  /** Epoch ms. */
  get now(): number {
    return this.time.at(performance.now())
  }
}
