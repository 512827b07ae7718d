import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../errors'
import { logger } from '../log'
import type { Polled } from './api'

/** Polls a source between `start` and `stop`, one request at a time. A failure keeps the last value. */
export class Polling<T> {
  state: Polled<T> = { value: null, at: null, problem: null }
  private controller: AbortController | undefined

  /** @param interval milliseconds between an answer and the next request */
  constructor(
    private readonly request: () => Promise<T>,
    private readonly interval: () => number,
    private readonly onChange: () => void,
  ) {}

  start(): void {
    if (this.controller) return
    this.controller = new AbortController()
    void this.run(this.controller.signal)
  }

  stop(): void {
    this.controller?.abort()
    this.controller = undefined
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const state = await this.poll()
      if (signal.aborted) return
      this.state = state
      this.onChange()
      await sleep(this.interval(), undefined, { signal }).catch(() => undefined)
    }
  }

  private async poll(): Promise<Polled<T>> {
    try {
      return { value: await this.request(), at: Date.now(), problem: null }
    } catch (error) {
      if (!(error instanceof UserError)) logger.warn({ err: error }, 'A poll of the dashboard failed.')
      const problem = error instanceof Error ? error.message.split('\n')[0]! : String(error)
      return { ...this.state, problem }
    }
  }
}
