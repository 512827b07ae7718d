import { ApplicationFailure } from '@temporalio/common'
import type { PipelineSettings } from '../core/settings'
import type { Delta } from '../core/window/protocol'
import type { Db } from '../postgres/database'
import { checkOwner } from '../postgres/owner'
import { recordExceptions } from '../postgres/record-exceptions'
import { stageDelta } from '../postgres/staged-deltas'

/** Writes to Postgres what is too large for a message. Idempotent. */
export interface Staging {
  /** Returns the delta without its counts, which are staged. */
  stage(start: number, delta: Delta): Promise<Delta>
  /** Returns the delta without its exceptions, which are recorded. */
  record(start: number, delta: Delta): Promise<Delta>
}

export class PostgresStaging implements Staging {
  /**
   * @param explain turns a failure into one for a person
   * @throws ApplicationFailure if Postgres refuses permanently; every other error is transient
   */
  constructor(
    private readonly db: Db,
    private readonly settings: Pick<PipelineSettings, 'group' | 'topic' | 'windowSize'>,
    private readonly namespace: string,
    private readonly explain: (error: unknown) => Promise<unknown>,
  ) {}

  stage(start: number, delta: Delta): Promise<Delta> {
    return this.asOwner(() => stageDelta(this.db, start, delta))
  }

  async record(start: number, delta: Delta): Promise<Delta> {
    const { partition, from, last, exceptions } = delta
    if (!exceptions || exceptions.recorded) return delta
    const { topic, windowSize } = this.settings
    const range = { partition, from, to: last + 1, window: start, ...exceptions }
    await this.asOwner(() => recordExceptions(this.db, topic, windowSize, range))
    const { records } = exceptions
    return { ...delta, exceptions: { records, recorded: true, late: [], rejected: {}, samples: [] } }
  }

  private async asOwner<T>(use: () => Promise<T>): Promise<T> {
    const { group, topic } = this.settings
    try {
      await checkOwner(this.db, { group, topic, namespace: this.namespace })
      return await use()
    } catch (error) {
      const explained = await this.explain(error)
      if (!(explained instanceof ApplicationFailure) || explained.nonRetryable) throw explained
      throw new Error(explained.message, { cause: error })
    }
  }
}
