import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import type { Config } from '../../src/config'
import type { IngestStatus } from '../../src/contract/messages'
import { totalsOf } from '../../src/core/window/ledger'
import { UserError } from '../../src/errors'
import { PipelineClient } from '../../src/pipeline/pipeline-client'
import type { Db } from '../../src/postgres/database'
import { storedTotals } from '../../src/postgres/totals'
import { openWorkflows } from '../chaos/verdict'

const POLL_INTERVAL = 200
/** Milliseconds. A pipeline that has read everything and has no open workflow cannot change; this allows for stragglers. */
const SETTLES_WITHIN = 10_000

/** How far a pipeline has come, by its ledger, its workflows and Postgres. */
export class SettleWatch {
  private readonly pipeline: PipelineClient

  /** @param stalled milliseconds without any change after which waiting fails */
  constructor(
    private readonly client: Client,
    private readonly config: Config,
    private readonly db: Db,
    private readonly stalled: number,
    private readonly signal: AbortSignal,
  ) {
    this.pipeline = new PipelineClient(client, config)
  }

  /** Resolves when all records are done and every window has received its close signal, or after `stalled`. */
  async untilClosing(records: number): Promise<void> {
    const deadline = Date.now() + this.stalled
    while (Date.now() < deadline) {
      const status = await this.ledger()
      if (status && hasReadAll(status, records)) return
      await sleep(POLL_INTERVAL / 2, undefined, { signal: this.signal })
    }
  }

  /** Waits until all records are in Postgres and no workflow is open; returns a line about what is missing, if anything. */
  async untilSettled(records: number): Promise<string[]> {
    let before = ''
    let since = Date.now()
    for (;;) {
      const [{ records: accounted, windows }, open, status] = await Promise.all([
        storedTotals(this.db),
        this.openWorkflows(),
        this.ledger(),
      ])
      if (accounted === records && open === 0) return []
      if (accounted > records) return [`${accounted} records are in Postgres, but the topic has ${records}`]
      const done = status ? totalsOf(status.ledger).records : 0
      const openWindows = status?.ledger.openWindows.length ?? 'unknown'
      const now = JSON.stringify([accounted, windows, open, done, openWindows])
      if (now !== before) since = Date.now()
      before = now
      const isOver = open === 0 && status && hasReadAll(status, records)
      const waited = Date.now() - since
      if (waited > (isOver ? SETTLES_WITHIN : this.stalled))
        return [
          `nothing has changed for ${Math.round(waited / 1_000)} s: ${accounted} of ${records} records are in Postgres, ` +
            `the ledger has ${done} as done and ${openWindows} windows open, ` +
            `${open} workflows of windows, pieces and exceptions are open`,
        ]
      await sleep(POLL_INTERVAL, undefined, { signal: this.signal })
    }
  }

  /** For example `12000 records in Postgres and 3 workflows open`. */
  async describe(): Promise<string> {
    const { records } = await storedTotals(this.db)
    return `${records} records in Postgres and ${await this.openWorkflows()} workflows open`
  }

  private openWorkflows(): Promise<number> {
    return openWorkflows(this.client, this.config.settings.group)
  }

  /** Undefined while no worker answers. */
  private async ledger(): Promise<IngestStatus | undefined> {
    try {
      return await this.pipeline.status()
    } catch (error) {
      if (error instanceof UserError) return undefined
      throw error
    }
  }
}

function hasReadAll({ ledger }: IngestStatus, records: number): boolean {
  return totalsOf(ledger).records >= records && ledger.openWindows.length === 0
}
