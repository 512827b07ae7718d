import { formatWindow } from '../../core/window/tumbling-window'
import type { OpenWindow, PipelineNow, Waiting } from '../messages'
import { select, Keyed, make, outward, setText } from './dom'
import { clock, count, roughly, visible } from './format'
import type { Stuck } from '../../contract/messages'

const STATES = {
  opening: 'opening',
  open: 'filling',
  published: 'published, takes corrections',
  closing: 'being written',
  closed: 'closed',
  unknown: 'announced',
}

/** The windows that are open, each with how far it is: towards its end, and then through the wait for stragglers. */
export class OpenWindows {
  private readonly cards: Keyed<OpenWindow, number>
  private readonly note = select('#open-note')
  private shown: PipelineNow | undefined
  /** How far the server's clock is ahead. */
  private ahead = 0

  constructor(private readonly pick: (start: number) => void) {
    this.cards = new Keyed(
      select('#open'),
      ({ start }) => start,
      window => this.card(window),
    )
    setInterval(() => this.refresh(), 1_000)
  }

  show(pipeline: PipelineNow, at: number): void {
    this.shown = pipeline
    this.ahead = at - Date.now()
    this.refresh()
  }

  private refresh(): void {
    const { shown } = this
    if (!shown) return
    this.cards.show(shown.open)
    const hidden = shown.openCount - shown.open.length
    const sentences = [
      shown.openCount === 0 ? 'None is open.' : null,
      hidden > 0 ? `The oldest and the newest of ${count(shown.openCount)}.` : null,
      shown.waiting && heldBy(shown.waiting),
      `${count(shown.closed)} closed so far.`,
      ...shown.unsettled,
      shown.unsettledCount > shown.unsettled.length
        ? `${count(shown.unsettledCount - shown.unsettled.length)} more are incomplete or silent.`
        : null,
    ]
    setText(this.note, sentences.filter(sentence => sentence !== null).join(' '))
  }

  private card(window: OpenWindow): { element: HTMLElement; update: (window: OpenWindow) => void } {
    const name = formatWindow(window.start, window.end - window.start)
    const title = make('button', { class: 'window-name', attributes: { type: 'button' } }, name)
    title.addEventListener('click', () => this.pick(window.start))
    const hits = make('p', { class: 'open-hits' })
    const fill = make('div', { class: 'fill-done' })
    const end = make('div', { class: 'fill-end' })
    const progress = make(
      'div',
      {
        class: 'fill',
        attributes: {
          role: 'progressbar',
          'aria-label': `Time of ${name}`,
          'aria-valuemin': '0',
          'aria-valuemax': '100',
        },
      },
      fill,
      end,
    )
    const state = make('p', { class: 'note' })
    const link = outward('In the Temporal Web UI', window.workflow, `${name} in the Temporal Web UI`)
    const element = make('li', { class: 'open-window' }, title, hits, progress, state, link)
    end.style.left = `${(100 * (window.end - window.start)) / (window.due - window.start)}%`
    const update = (window: OpenWindow) => {
      const now = Date.now() + this.ahead
      const done = Math.min(1, Math.max(0, (now - window.start) / (window.due - window.start)))
      fill.style.width = `${100 * done}%`
      progress.setAttribute('aria-valuenow', String(Math.round(100 * done)))
      setText(hits, window.hits === null ? '–' : `${count(window.hits)} hits`)
      element.classList.toggle('stuck', window.stuck !== null)
      setText(
        state,
        window.stuck ? explain(window.stuck) : `${STATES[window.state]}, ${this.phase(window, now)}`,
      )
    }
    return { element, update }
  }

  private phase({ state, end, due }: OpenWindow, now: number): string {
    if (state === 'closing') return 'since every partition has reached its end'
    if (now < end) return `ends in ${roughly(end - now)}`
    if (now < due) return `waits ${roughly(due - now)} for stragglers`
    return 'waits for every partition'
  }
}

function explain({ step, since, reason, nextTry }: Stuck): string {
  const next = nextTry === undefined ? '' : ` Tried again at ${clock(nextTry)}, or after web-traffic retry.`
  return `stuck since ${clock(since)}, tries to ${step}.${reason === undefined ? '' : ` ${visible(reason)}`}${next}`
}

function heldBy({ until, partitions, count: all }: Waiting): string {
  if (all === 0) return 'No partition holds the oldest.'
  const more = all > partitions.length ? ` and ${count(all - partitions.length)} more` : ''
  return `The oldest waits for partition ${partitions.join(', ')}${more} to reach ${clock(until)}.`
}
