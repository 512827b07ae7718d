import { formatWindow } from '../../core/window/tumbling-window'
import type { Ranking, WindowDetail, WindowResult } from '../messages'
import { select, make, outward, setText } from './dom'
import { count, countryName, instant, visible } from './format'
import { rankingTable, rest } from './ranking'

/** One window: its result as Postgres has it, and the way to its workflow. */
export class WindowPanel {
  private readonly title = select('#window-title')
  private readonly place = select('#window-detail')
  private readonly close = select<HTMLButtonElement>('#window-close')
  private shown = ''

  constructor(closed: () => void) {
    this.close.addEventListener('click', closed)
    select('#window').addEventListener('keydown', event => {
      if (event.key === 'Escape' && !this.close.hidden) closed()
    })
  }

  clear(): void {
    this.shown = ''
    this.close.hidden = true
    setText(this.title, 'One window')
    const hint = 'Choose a window from the list, from the open ones or in the chart.'
    this.place.replaceChildren(make('p', { class: 'note' }, hint))
  }

  focus(): void {
    this.title.focus()
  }

  show(detail: WindowDetail, windowSize: number): void {
    const text = JSON.stringify(detail)
    if (text === this.shown) return
    this.shown = text
    this.close.hidden = false
    const { start, result, workflow } = detail
    setText(this.title, formatWindow(start, result ? result.end - start : windowSize))
    const link = outward('Its workflow in the Temporal Web UI', workflow)
    const way = link && make('p', {}, link)
    if (result) this.place.replaceChildren(...content(result, way))
    else {
      const none = make('p', {}, 'It has no result in Postgres: it is still open, or had no event.')
      this.place.replaceChildren(none, ...(way ? [way] : []))
    }
  }
}

function content(result: WindowResult, way: HTMLElement | null): HTMLElement[] {
  const facts: [string, string][] = [
    ['Hits', count(result.hits)],
    ['Late', count(result.late)],
    ['Groups', count(result.groups)],
    ['Status', result.status],
    ['Revision', count(result.revision)],
    [result.status === 'closed' ? 'Closed at (UTC)' : 'Published at (UTC)', instant(result.closedAt)],
  ]
  const list = make('dl', { class: 'facts' }, ...facts.map(([name, value]) => fact(name, value)))
  return [
    list,
    ...(way ? [way] : []),
    ranking('Hosts', 'Host', result.hosts, visible),
    ranking('Referrers', 'Referrer', result.referrers, referrerName),
    ranking('Countries', 'Country', result.countries, countryName),
    readFrom(result),
  ]
}

const fact = (name: string, value: string) => make('div', {}, make('dt', {}, name), make('dd', {}, value))

export const referrerName = (referrer: string) => (referrer === '' ? 'none' : visible(referrer))

function ranking(title: string, name: string, ranked: Ranking, show: (name: string) => string): HTMLElement {
  const labels = { name, figure: 'Hits', show, caption: `${title} of the window` }
  const table = rankingTable(ranked.top.slice(0, 5), ranked.hits, labels)
  const shown = { ...ranked, top: ranked.top.slice(0, 5) }
  return make('div', {}, make('h3', {}, title), table, make('p', { class: 'note' }, rest(shown)))
}

function readFrom({ read }: WindowResult): HTMLElement {
  const rows = read.map(({ partition, from, last }) =>
    make('li', {}, `partition ${partition}: from ${count(from)} to ${count(last)}`),
  )
  return make('div', {}, make('h3', {}, 'Read from Kafka, by offset'), make('ul', { class: 'read' }, ...rows))
}
