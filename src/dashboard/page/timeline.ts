import type UPlot from 'uplot'
import type { Timeline } from '../messages'
import { select, make } from './dom'
import { count, share } from './format'
import { colourOf, figures, plot, resize } from './plot'
import { bucketName, layerName, spoken, stackOf, total, type Stack } from './stack'

interface Actions {
  /** A bucket was chosen, by its first and last instant. */
  pickBucket: (from: number, to: number) => void
  pickHost: (host: string) => void
}

/**
 * The chart of hits over time. It is drawn for the eye, and is a slider for the keyboard: the arrows go from bucket to
 * bucket, each is read out, and Enter opens it.
 */
export class TimelineChart {
  private readonly frame = select('#timeline')
  private readonly table = select<HTMLDetailsElement>('#timeline-table')
  private readonly canvas = make('div', { class: 'canvas', attributes: { 'aria-hidden': 'true' } })
  private readonly tip = make('div', { class: 'tip', attributes: { hidden: '', 'aria-hidden': 'true' } })
  private readonly slider = make('div', {
    class: 'slider',
    attributes: { tabindex: '0', role: 'slider', 'aria-label': 'Hits over time; Enter opens what is chosen' },
  })
  private readonly empty = make('p', { class: 'nothing', attributes: { hidden: '' } }, '')
  private stack: Stack | undefined
  private drawn: { plot: UPlot; names: string } | undefined
  private at = 0

  constructor(private readonly actions: Actions) {
    this.slider.append(this.canvas, this.tip)
    this.frame.append(this.slider, this.empty)
    this.slider.addEventListener('keydown', event => this.onKey(event))
    this.slider.addEventListener('focus', () => this.goTo(this.at))
    this.slider.addEventListener('blur', () => this.showTip(null))
    this.canvas.addEventListener('click', () => this.pick())
    this.table.addEventListener('toggle', () => this.fillTable())
    new ResizeObserver(() => this.drawn && resize(this.drawn.plot, this.canvas.clientWidth)).observe(
      this.frame,
    )
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw(true))
  }

  show(timeline: Timeline): void {
    const before = this.stack
    this.stack = stackOf(timeline)
    if (this.stack?.starts.length !== before?.starts.length) this.at = (this.stack?.starts.length ?? 1) - 1
    this.slider.hidden = !this.stack
    this.empty.hidden = this.stack !== undefined
    this.empty.textContent = 'No window in this range has a result yet.'
    this.draw(false)
    this.describe()
    this.fillLegend()
    this.fillTable()
  }

  private draw(anew: boolean): void {
    const { stack } = this
    const names =
      JSON.stringify(stack?.layers.map(({ host }) => host)) + String((stack?.starts.length ?? 0) > 150)
    if (stack && this.drawn?.names === names && !anew) {
      this.drawn.plot.setData(figures(stack))
      return
    }
    this.drawn?.plot.destroy()
    this.drawn = stack && {
      names,
      plot: plot(
        this.canvas,
        () => this.stack!,
        i => this.showTip(i),
      ),
    }
  }

  private onKey(event: KeyboardEvent): void {
    const last = (this.stack?.starts.length ?? 0) - 1
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[
      event.key
    ]
    if (step !== undefined) this.goTo(this.at + step)
    else if (event.key === 'Home') this.goTo(0)
    else if (event.key === 'End') this.goTo(last)
    else if (event.key === 'Enter') this.pick()
    else if (event.key === 'Escape') this.showTip(null)
    else return
    event.preventDefault()
  }

  private goTo(i: number): void {
    const { stack, drawn } = this
    if (!stack || !drawn) return
    this.at = Math.min(Math.max(i, 0), stack.starts.length - 1)
    const middle = stack.starts[this.at]! + stack.span.bucket / 2000
    drawn.plot.setCursor({ left: drawn.plot.valToPos(middle, 'x'), top: 10 }, false)
    this.describe()
    this.showTip(this.at)
  }

  private describe(): void {
    const { stack, slider } = this
    if (!stack) return
    slider.setAttribute('aria-valuemin', '1')
    slider.setAttribute('aria-valuemax', String(stack.starts.length))
    slider.setAttribute('aria-valuenow', String(this.at + 1))
    slider.setAttribute('aria-valuetext', spoken(stack, this.at))
  }

  private showTip(i: number | null): void {
    const { stack, drawn, tip } = this
    tip.hidden = i === null || !stack || !drawn
    if (i === null || !stack || !drawn) return
    this.at = i
    const rows = stack.layers
      .map((layer, n) => ({ layer, n, hits: layer.hits[i]! }))
      .filter(({ hits }) => hits > 0)
      .reverse()
      .map(({ layer, n, hits }) =>
        make('li', {}, swatch(stack, n), make('bdi', { class: 'name' }, layerName(layer)), count(hits)),
      )
    tip.replaceChildren(
      make('p', { class: 'tip-title' }, bucketName(stack, i)),
      make('p', {}, `${count(total(stack, i))} hits`),
      make('ul', {}, ...rows),
    )
    const left = drawn.plot.valToPos(stack.starts[i]! + stack.span.bucket / 2000, 'x') + 56
    const toTheLeft = left > this.canvas.clientWidth / 2
    tip.style.left = toTheLeft ? '' : `${left + 12}px`
    tip.style.right = toTheLeft ? `${this.canvas.clientWidth - left + 12}px` : ''
  }

  private pick(): void {
    const { stack } = this
    if (!stack) return
    const from = stack.span.from + this.at * stack.span.bucket
    this.actions.pickBucket(from, from + stack.span.bucket)
  }

  private fillLegend(): void {
    const { stack } = this
    const all = stack?.heights.at(-1)?.reduce((sum, hits) => sum + hits, 0) ?? 0
    const items = stack?.layers.map((layer, n) => {
      const hits = layer.hits.reduce((sum, each) => sum + each, 0)
      const name = make('bdi', { class: 'name' }, layerName(layer))
      const figure = make('span', { class: 'note' }, `${count(hits)}, ${share(hits, all)}`)
      const { host } = layer
      if (host === null || stack.layers.length === 1) return make('li', {}, swatch(stack, n), name, figure)
      const button = make(
        'button',
        { attributes: { type: 'button', title: 'This host alone' } },
        swatch(stack, n),
        name,
      )
      button.addEventListener('click', () => this.actions.pickHost(host))
      return make('li', {}, button, figure)
    })
    const legend = select('#legend')
    const focused = [...legend.querySelectorAll('button')].indexOf(
      document.activeElement as HTMLButtonElement,
    )
    legend.replaceChildren(...(items ?? []))
    if (focused >= 0) legend.querySelectorAll('button')[focused]?.focus()
  }

  /** Made when somebody opens it: it has a row for each bar. */
  private fillTable(): void {
    const { stack, table } = this
    const place = table.querySelector('.scroll')!
    if (!table.open || !stack) return place.replaceChildren()
    const column = (name: string) =>
      make('th', { class: 'number', attributes: { scope: 'col' } }, make('bdi', { class: 'name' }, name))
    const head = make(
      'tr',
      {},
      make('th', { attributes: { scope: 'col' } }, 'Time (UTC)'),
      column('All'),
      ...stack.layers.map(layer => column(layerName(layer))),
    )
    const rows = stack.starts.map((_, i) => {
      const figures = [total(stack, i), ...stack.layers.map(({ hits }) => hits[i]!)]
      const cells = figures.map(hits => make('td', { class: 'number' }, count(hits)))
      return make('tr', {}, make('th', { attributes: { scope: 'row' } }, bucketName(stack, i)), ...cells)
    })
    place.replaceChildren(
      make('table', { class: 'figures' }, make('thead', {}, head), make('tbody', {}, ...rows.reverse())),
    )
  }
}

function swatch(stack: Stack, layer: number): HTMLElement {
  return make('span', {
    class: `swatch swatch-${colourOf(stack, layer)}`,
    attributes: { 'aria-hidden': 'true' },
  })
}
