import type { UnreadableBatch } from '../kafka/codecs'
import type { Fetch, Position } from '../kafka/group-reader'
import type { Logger } from '../log'

/** Before a batch is fetched again, ms. Decoding what expands to the limit can take a second. */
const RETRY_AFTER = 5_000

/**
 * The batches that a poller's partitions wait for. They are fetched again until they can be read, because another
 * broker may have an intact copy.
 */
export class UnreadableBatches {
  private readonly waiting = new Map<number, { batch: UnreadableBatch; retryAt: number }>()

  constructor(
    private readonly logger: Pick<Logger, 'warn' | 'info'>,
    private readonly retryAfter = RETRY_AFTER,
  ) {}

  get all(): UnreadableBatch[] {
    const batches = [...this.waiting.values()].map(({ batch }) => batch)
    return batches.sort((a, b) => a.partition - b.partition)
  }

  found(batch: UnreadableBatch): void {
    const { partition, offset } = batch
    if (this.waiting.get(partition)?.batch.offset !== offset)
      this.logger.warn(batch, 'a batch cannot be read; its partition waits, and reading it is retried')
    this.waiting.set(partition, { batch, retryAt: Date.now() + this.retryAfter })
  }

  /** Call this for every fetch. */
  fetched({ partition, next }: Pick<Fetch, 'partition' | 'next'>): void {
    const { batch } = this.waiting.get(partition) ?? {}
    if (!batch || next <= batch.offset) return
    this.waiting.delete(partition)
    this.logger.info(batch, 'the batch can be read now')
  }

  /** Call this when all partitions are about to be read from their positions. */
  claimed(): void {
    this.waiting.clear()
  }

  /** The positions to read from again now. */
  due(positions: Position[]): Position[] {
    const now = Date.now()
    return positions.filter(({ partition }) => (this.waiting.get(partition)?.retryAt ?? Infinity) <= now)
  }
}
