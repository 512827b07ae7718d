import { getJson, RequestFailedError } from './api-client'
import { select, setText } from './dom'

/** Before the same request is repeated, the page waits this many times as long as the last one took. */
const PAUSE_FACTOR = { success: 20, failure: 2 }

/** Loads one part of the page. A failure keeps what is shown; a new request cancels the pending one. */
export class Loader<T> {
  failed = false
  private pending: AbortController | undefined
  private timer: ReturnType<typeof setTimeout> | undefined
  private lastUrl = ''
  private pausedUntil = 0

  /** @param note selects the element for error messages, in the section that is marked as busy */
  constructor(
    private readonly url: () => string,
    private readonly show: (answer: T) => void,
    private readonly note: string,
  ) {}

  load(): void {
    const url = this.url()
    const isNew = url !== this.lastUrl
    if (!isNew && (this.pending || this.timer !== undefined)) return
    clearTimeout(this.timer)
    this.timer = undefined
    const pause = this.pausedUntil - Date.now()
    if (isNew || pause <= 0) return void this.request(url)
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.load()
    }, pause)
  }

  private async request(url: string): Promise<void> {
    this.pending?.abort()
    const controller = (this.pending = new AbortController())
    this.lastUrl = url
    const startedAt = Date.now()
    const section = select(this.note).closest('section')
    section?.setAttribute('aria-busy', 'true')
    try {
      const answer = await getJson<T>(url, controller.signal)
      if (controller.signal.aborted) return
      this.failed = false
      this.show(answer)
    } catch (error) {
      if (controller.signal.aborted) return
      this.failed = true
      if (!(error instanceof RequestFailedError)) throw error
      setText(this.note, error.message)
    } finally {
      if (this.pending === controller) {
        this.pending = undefined
        const factor = PAUSE_FACTOR[this.failed ? 'failure' : 'success']
        this.pausedUntil = Date.now() + factor * (Date.now() - startedAt)
        section?.removeAttribute('aria-busy')
      }
    }
  }
}
