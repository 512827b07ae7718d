import { select, setText } from './dom'
import { ask, RefusedError } from './server'

/** However often it is told to load the same: the server rests for so many times as long as its answer took. */
const REST = { answered: 20, failed: 2 }

/**
 * Loads one thing that is shown, and keeps what is shown where the server does not answer. A new question takes the
 * place of the one under way; the same one does not.
 */
export class Loader<T> {
  failed = false
  private underWay: { question: string; controller: AbortController } | undefined
  private rested = 0
  private again: ReturnType<typeof setTimeout> | undefined
  private answered = ''

  constructor(
    private readonly question: () => [path: string, query: URLSearchParams],
    private readonly show: (found: T) => void,
    private readonly note: string,
  ) {}

  load(): void {
    const [path, query] = this.question()
    const question = `${path}?${query.toString()}`
    const isNew = question !== this.answered && question !== this.underWay?.question
    if (!isNew && (this.underWay || this.again)) return
    const wait = this.rested - Date.now()
    clearTimeout(this.again)
    this.again = undefined
    if (!isNew && wait > 0) {
      this.again = setTimeout(() => {
        this.again = undefined
        this.load()
      }, wait)
      return
    }
    this.underWay?.controller.abort()
    const controller = new AbortController()
    this.underWay = { question, controller }
    void this.ask(question, path, query, controller)
  }

  private async ask(question: string, path: string, query: URLSearchParams, controller: AbortController) {
    const begun = Date.now()
    const busy = document.querySelector(this.note)?.closest('section')
    busy?.setAttribute('aria-busy', 'true')
    try {
      const found = await ask<T>(path, query, controller.signal)
      if (controller.signal.aborted) return
      this.failed = false
      this.answered = question
      this.show(found)
    } catch (error) {
      if (controller.signal.aborted) return
      this.failed = true
      if (!(error instanceof RefusedError)) throw error
      setText(select(this.note), error.message)
    } finally {
      if (this.underWay?.controller === controller) {
        this.underWay = undefined
        this.rested = Date.now() + REST[this.failed ? 'failed' : 'answered'] * (Date.now() - begun)
        busy?.removeAttribute('aria-busy')
      }
    }
  }
}
