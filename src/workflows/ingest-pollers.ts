import { ParentClosePolicy, sleep, startChild } from '@temporalio/workflow'
import { pollerId } from '../contract/ids'
import { drain } from '../contract/messages'
import { pipelineAttributes } from '../contract/search-attributes'
import type { IngestInput } from '../contract/workflows'
import type { poller } from './poller'
import { isStarted, signalIfRunning } from './signal-if-running'

/** A poller that has sent nothing for so long may have been terminated by hand. ms */
export const SILENT_AFTER = 30_000

/** The pollers of a pipeline: how many there should be, and which are running. */
export class Pollers {
  wanted: number
  /** How many a resume brings back; 0 if the pipeline is not paused. */
  paused: number
  /** Also true when a run begins: a poller may have been terminated by hand. */
  mustReconcile = true
  private readonly running: Set<number>
  /** Pollers that have signalled their end; the server may not have closed them yet. */
  private readonly ending: Set<number>
  /** When each poller last sent something or was found running; epoch ms. */
  private readonly lastHeard = new Map<number, number>()

  /** @param looksAfter whether running pollers need to be started again only if they are silent */
  constructor(
    private readonly input: IngestInput,
    private readonly looksAfter: boolean,
  ) {
    this.wanted = input.pollers
    this.paused = input.carried?.paused ?? 0
    this.running = new Set(input.carried?.running)
    this.ending = new Set(input.carried?.ending)
  }

  carried() {
    return { running: [...this.running], ending: [...this.ending], paused: this.paused }
  }

  scale(wanted: number, paused = 0): void {
    this.wanted = wanted
    this.paused = paused
    this.mustReconcile = true
  }

  pause(): void {
    this.scale(0, this.wanted || this.paused)
  }

  resume(): number {
    this.scale(this.wanted || this.paused)
    return this.wanted
  }

  heard(n: number): void {
    this.lastHeard.set(n, Date.now())
  }

  ended(n: number): void {
    this.running.delete(n)
    this.ending.add(n)
    this.mustReconcile = true
  }

  lookForSilent(): void {
    for (let n = 1; n <= this.wanted; n++) if (this.isSilent(n)) this.mustReconcile = true
  }

  private isSilent(n: number): boolean {
    return (this.lastHeard.get(n) ?? -Infinity) <= Date.now() - SILENT_AFTER
  }

  /** Starts the pollers that are missing, and drains those that are not wanted. */
  async reconcile(): Promise<void> {
    this.mustReconcile = false
    for (let n = 1; n <= this.wanted; n++)
      if (!this.looksAfter || !this.running.has(n) || this.isSilent(n)) await this.start(n)
    const { group } = this.input.settings
    for (const n of this.running)
      if (n > this.wanted && !(await signalIfRunning(pollerId(group, n), drain))) this.running.delete(n)
  }

  private async start(n: number): Promise<void> {
    const { settings, taskQueue } = this.input
    const child = startChild<typeof poller>('poller', {
      workflowId: pollerId(settings.group, n),
      args: [{ settings, poller: n, taskQueue }],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `poller ${n} of ${settings.topic}`,
      typedSearchAttributes: pipelineAttributes(settings),
    })
    // An ending poller signals only once, so try again when the server has closed it. One that still drains will signal.
    if (!(await isStarted(child)) && this.ending.has(n)) {
      void sleep(500).then(() => (this.mustReconcile = true))
      return
    }
    this.ending.delete(n)
    this.running.add(n)
    this.heard(n)
  }
}
