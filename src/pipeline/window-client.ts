import type { Client, WorkflowHandle } from '@temporalio/client'
import { windowId } from '../contract/ids'
import { windowProgress, type Stuck, type WindowProgress } from '../contract/messages'
import { formatWindow } from '../core/window/tumbling-window'
import { whyBlocked } from '../temporal/blocked'
import { ask, ifFound, isOpen } from '../temporal/ask'

/** Asks the windows of one pipeline. Windows are named by their starts, epoch ms. */
export class WindowClient {
  constructor(
    private readonly client: Client,
    private readonly group: string,
    readonly windowSize: number,
  ) {}

  nameOf(start: number): string {
    return `Window ${formatWindow(start, this.windowSize)}`
  }

  /**
   * @param within ms
   * @returns undefined if the window has no workflow: its first delta has not arrived, or Temporal has deleted it
   * @throws UserError that says why the window does not answer
   */
  async progressOf(start: number, within?: number): Promise<WindowProgress | undefined> {
    const query = (handle: WorkflowHandle) => handle.query(windowProgress)
    const progress = await ask(this.client, this.handle(start), this.nameOf(start), query, within)
    return progress?.stuck ? { ...progress, stuck: await this.explained(start, progress.stuck) } : progress
  }

  /** A workflow does not see why its step is paused or retried. */
  private async explained(start: number, stuck: Stuck): Promise<Stuck> {
    return stuck.reason === undefined ? { ...stuck, reason: await this.troubleOf(start) } : stuck
  }

  async isRunning(start: number): Promise<boolean> {
    const found = await ifFound(this.handle(start).describe())
    return found !== undefined && isOpen(found)
  }

  /** Why the window cannot continue: it or its step is paused, its task fails, or a step fails and is retried. */
  async troubleOf(start: number): Promise<string | undefined> {
    const found = await ifFound(this.handle(start).describe())
    if (!found) return undefined
    const blocked = await whyBlocked(this.client, found)
    if (blocked) return `It ${blocked}`
    const failed = found.raw.pendingActivities?.find(({ lastFailure }) => lastFailure)
    return failed?.lastFailure?.message ?? undefined
  }

  private handle(start: number): WorkflowHandle {
    return this.client.workflow.getHandle(windowId(this.group, start))
  }
}
