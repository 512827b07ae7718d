import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'

/**
 * A window's run takes in nothing more once its history has so many bytes, or events: it continues as new from 4 MB or
 * 2,000 signals on, and the server ends a run at 50 MB, 51,200 events or 10,000 signals.
 */
const FULL = { bytes: 8 << 20, events: 16_000 }
/** What all pollers together may send to a window after they have looked, and each of them at most. */
const UNSEEN = { bytes: 16 << 20, messages: 4_000 }
const UNSEEN_EACH = { bytes: 256 << 10, messages: 100 }
/** Windows that are remembered; then all are forgotten, and looked at again. */
const MAX_WINDOWS = 10_000

/** A window's run has as much as a history holds. Transient: it goes on once the window has worked it off. */
export class WindowFullError extends Error {
  override readonly name = 'WindowFullError'
}

/**
 * Keeps pollers from sending more to a window than a run's history holds, however fast they are and however long the
 * window waits for Postgres. It looks at the history's size, which the server knows, after every so many bytes.
 */
export class WindowGate {
  private readonly sent = new Map<string, { bytes: number; messages: number }>()
  /** How many send to the same windows. */
  pollers = 1

  constructor(private readonly client: Client) {}

  /**
   * @param bytes of the message that is about to be sent
   * @throws WindowFullError where it has to wait
   */
  async pass(workflowId: string, bytes: number): Promise<void> {
    const sent = this.sent.get(workflowId) ?? { bytes: 0, messages: 0 }
    const looks =
      sent.bytes + bytes > Math.min(UNSEEN_EACH.bytes, UNSEEN.bytes / this.pollers) ||
      sent.messages >= Math.min(UNSEEN_EACH.messages, UNSEEN.messages / this.pollers)
    if (looks && sent.messages > 0) {
      await this.look(workflowId)
      sent.bytes = sent.messages = 0
    }
    if (this.sent.size >= MAX_WINDOWS) this.sent.clear()
    this.sent.set(workflowId, { bytes: sent.bytes + bytes, messages: sent.messages + 1 })
  }

  private async look(workflowId: string): Promise<void> {
    try {
      const {
        status,
        historySize = 0,
        historyLength,
      } = await this.client.workflow.getHandle(workflowId).describe()
      if (status.name !== 'RUNNING') return
      if (historySize < FULL.bytes && historyLength < FULL.events) return
      throw new WindowFullError(
        `${workflowId} has ${(historySize / 2 ** 20).toFixed(1)} MiB of counts that it has not worked off yet; its ` +
          'pending activity in the Temporal Web UI says what it waits for.',
      )
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error
    }
  }
}
