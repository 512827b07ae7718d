import { setTimeout as sleep } from 'node:timers/promises'
import pc from 'picocolors'
import type { Config } from '../../config'
import { counted, grouped } from '../../core/numbers'
import { UserError } from '../../errors'
import { pipelineStatus } from '../../pipeline/status'
import type { Db } from '../../postgres/database'
import { storedTotals } from '../../postgres/totals'
import { withTemporal } from '../../temporal/connection'
import type { Stage } from './stage'
import { finishedSince, windowRow } from './window-table'

/** Prints windows as they close, and waits until every record is accounted for. */
export class DemoWatch {
  private readonly printed = new Set<number>()
  private since = new Date(0)

  constructor(
    private readonly config: Config,
    private readonly db: Db,
    private readonly stage: Stage,
  ) {}

  async until(signal: AbortSignal): Promise<void> {
    for (let second = 0; !signal.aborted; second++) {
      const printed = await this.printFinished()
      if (printed > 0 || second % 5 === 4) await this.printLag()
      await sleep(1_000, undefined, { signal }).catch(() => undefined)
    }
  }

  private async printFinished(): Promise<number> {
    if (this.stage.workerEnded) throw new UserError(`The worker has ended. See ${this.stage.workerLog}.`)
    // Postgres has microseconds and a Date does not, so the last window is found again.
    const found = await finishedSince(this.db, this.since)
    const finished = found.filter(({ start }) => !this.printed.has(start.getTime()))
    for (const window of finished) {
      this.printed.add(window.start.getTime())
      console.log(windowRow(window, this.config.settings.windowSize))
      this.since = window.closedAt
    }
    return finished.length
  }

  private async printLag(): Promise<void> {
    const status = await withTemporal(client => pipelineStatus(client, this.config))
    if (!status) return
    const { lag, windows, totals } = status
    const figures = `lag ${lag}, ${counted(windows.open, 'window')} open, late ${totals.late}, rejected ${totals.rejected}`
    console.log(pc.dim(`  ${figures}`))
  }

  /** Waits until every sent record is in Postgres, and prints how they add up; returns whether they do. */
  async untilSettled(sent: number, signal: AbortSignal): Promise<boolean> {
    say(`The traffic has ended after ${grouped(sent)} records; the last windows are closing …`)
    let totals = await storedTotals(this.db)
    while (totals.records !== sent && !signal.aborted) {
      await sleep(500, undefined, { signal }).catch(() => undefined)
      await this.printFinished()
      totals = await storedTotals(this.db)
    }
    const { records, windows, hits, late, rejected } = totals
    const addsUp = records === sent
    const line = `records ${sent} ${addsUp ? '=' : '≠'} hits ${hits} + late ${late} + rejected ${rejected}, in ${windows} windows`
    console.log((addsUp ? pc.green : pc.red)(pc.bold(line)))
    return addsUp
  }
}

export function say(line: string): void {
  console.log(pc.cyan(line))
}
