import { sleep } from '@temporalio/workflow'
import { sink } from './sink'
import type { WindowRun } from './window-run'
import type { GiveUp } from './window-visibility'

/** How long late and rejected records are gathered before they are recorded. */
const GATHERING_TIME = '2s'

/** Records late and rejected records in Postgres, a few seconds' worth at a time. */
export class WindowExceptions {
  /** Whether exceptions have been gathered for {@link GATHERING_TIME}. */
  areDue = false
  private gathering = false

  constructor(private readonly run: WindowRun) {}

  gather(): void {
    if (this.gathering || this.areDue) return
    this.gathering = true
    const gathered = () => {
      this.gathering = false
      this.areDue = this.run.counts.toRecord.length > 0
    }
    void sleep(GATHERING_TIME, { summary: 'gather late and rejected records' }).then(gathered)
  }

  /** Returns false if it gave up. */
  async record(until: GiveUp = {}): Promise<boolean> {
    const { key, counts, visibility } = this.run
    const ranges = counts.toRecord.map(range => ({ ...range, window: key.start }))
    const options = { summary: `late and rejected records of ${ranges.length} ranges` }
    const input = { settings: key.settings, ranges }
    const record = () => sink.recordExceptions.executeWithOptions(options, [input])
    const done = await visibility.watched('record late and rejected records', record, until)
    if (done === undefined) return false
    counts.recorded(ranges.length)
    this.areDue = false
    return true
  }
}
