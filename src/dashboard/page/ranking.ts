import type { Ranked, Ranking } from '../messages'
import { make } from './dom'
import { count, share } from './format'

/** A bar as long as its part of a whole. It says nothing that the figure beside it does not. */
export function bar(part: number, whole: number): HTMLElement {
  const fill = make('span', { class: 'bar-fill' })
  fill.style.width = `${whole === 0 ? 0 : Math.min(100, (100 * part) / whole)}%`
  return make('span', { class: 'bar', attributes: { 'aria-hidden': 'true' } }, fill)
}

interface Labels {
  /** Heads the column of names. */
  name: string
  figure: string
  show: (name: string) => string
  caption: string
}

/** Names with their figures and bars: a chart that is a table. */
export function rankingTable(rows: Ranked[], whole: number, labels: Labels): HTMLElement {
  const most = rows[0]?.hits ?? 0
  const head = make(
    'tr',
    {},
    make('th', { attributes: { scope: 'col' } }, labels.name),
    make('th', { class: 'number', attributes: { scope: 'col' } }, labels.figure),
    make('th', { class: 'number', attributes: { scope: 'col' } }, 'Share'),
  )
  const body = rows.map(({ name, hits }) => {
    const text = make('bdi', { class: 'name' }, labels.show(name))
    const cell = make('th', { class: 'ranked', attributes: { scope: 'row' } }, text, bar(hits, most))
    const figures = [count(hits), share(hits, whole)].map(figure => make('td', { class: 'number' }, figure))
    return make('tr', {}, cell, ...figures)
  })
  const caption = make('caption', { class: 'unseen' }, labels.caption)
  return make('table', { class: 'ranking' }, caption, make('thead', {}, head), make('tbody', {}, ...body))
}

/** How many names there are beyond those that are shown, and their share. */
export function rest({ top, names, hits }: Ranking): string {
  if (names <= top.length) return ''
  const shown = top.reduce((sum, each) => sum + each.hits, 0)
  return `${count(names - top.length)} more: ${count(hits - shown)} hits, ${share(hits - shown, hits)}`
}
