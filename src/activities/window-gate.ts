import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'

/**
 * No signals are sent while the run's history is this large. Runs continue as new from 4 MB or 2,000 signals on; the server
 * ends them at 50 MB, 51,200 events or 10,000 signals.
 */
const FULL = { bytes: 8 << 20, events: 16_000 }
/** The most that all pollers together, and each of them, may send to a window between two checks. */
const UNCHECKED = { bytes: 16 << 20, messages: 4_000 }
const UNCHECKED_EACH = { bytes: 256 << 10, messages: 100 }
/** If more windows are counted, all counts restart. */
const MAX_WINDOWS = 10_000

/** The window's run has no room for more signals. Transient: the run continues as new once it has merged its counts. */
export class WindowFullError extends Error {
  override readonly name = 'WindowFullError'
}

/** Keeps pollers from filling a run's history, however fast they are and however long the window waits for Postgres. */
export class WindowGate {
  private readonly sent = new Map<string, { bytes: number; messages: number }>()
  /** How many pollers send to the same windows. */
  pollers = 1

  constructor(private readonly client: Client) {}

  /**
   * Checks the history's size if enough was sent to the window since the last check.
   *
   * @param bytes size of the message to be sent
   * @throws WindowFullError if the message has to wait
   */
  async pass(workflowId: string, bytes: number): Promise<void> {
    const sent = this.sent.get(workflowId) ?? { bytes: 0, messages: 0 }
    const mustCheck =
      sent.bytes + bytes > Math.min(UNCHECKED_EACH.bytes, UNCHECKED.bytes / this.pollers) ||
      sent.messages >= Math.min(UNCHECKED_EACH.messages, UNCHECKED.messages / this.pollers)
    if (mustCheck && sent.messages > 0) {
      await this.check(workflowId)
      sent.bytes = sent.messages = 0
    }
    if (this.sent.size >= MAX_WINDOWS) this.sent.clear()
    this.sent.set(workflowId, { bytes: sent.bytes + bytes, messages: sent.messages + 1 })
  }

  private async check(workflowId: string): Promise<void> {
    try {
      const description = await this.client.workflow.getHandle(workflowId).describe()
      const { status, historySize = 0, historyLength } = description
      if (status.name !== 'RUNNING' || (historySize < FULL.bytes && historyLength < FULL.events)) return
      throw new WindowFullError(
        `${workflowId} has ${(historySize / 2 ** 20).toFixed(1)} MiB of counts to process. Its pending activity in the ` +
          'Temporal Web UI shows what it waits for.',
      )
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error
    }
  }
}
