import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../errors'
import { logger } from '../log'
import type { Heard } from './messages'

/** Asks something again and again, one question at a time, while it is running; a failure is remembered, and asked after. */
export class Poll<T> {
  heard: Heard<T> = { value: null, at: null, problem: null }
  private stop: AbortController | undefined

  /** @param interval milliseconds from an answer to the next question */
  constructor(
    private readonly ask: () => Promise<T>,
    private readonly interval: () => number,
    private readonly onHeard: () => void,
  ) {}

  start(): void {
    if (this.stop) return
    this.stop = new AbortController()
    void this.run(this.stop.signal)
  }

  end(): void {
    this.stop?.abort()
    this.stop = undefined
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const heard = await this.askOnce()
      if (signal.aborted) return
      this.heard = heard
      this.onHeard()
      await sleep(this.interval(), undefined, { signal }).catch(() => undefined)
    }
  }

  private async askOnce(): Promise<Heard<T>> {
    try {
      return { value: await this.ask(), at: Date.now(), problem: null }
    } catch (error) {
      if (!(error instanceof UserError)) logger.warn({ err: error }, 'The dashboard got no answer.')
      const problem = error instanceof Error ? error.message.split('\n')[0]! : String(error)
      return { ...this.heard, problem }
    }
  }
}
