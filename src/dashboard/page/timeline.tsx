import { render } from 'preact'
import type UPlot from 'uplot'
import type { Timeline } from '../api'
import { Name, Table, type Column } from './components'
import { select } from './dom'
import { count, share, sum } from './format'
import { colourIndex, createPlot, isDense, plotData, resize, Y_AXIS_WIDTH } from './plot'
import { bucketName, bucketTotal, describeBucket, seriesName, stackSeries } from './stacked-series'
import type { StackedSeries } from './stacked-series'

interface Actions {
  selectRange: (from: number, to: number) => void
  selectHost: (host: string) => void
}

const KEY_STEPS: Record<string, number> = {
  ArrowLeft: -1,
  ArrowDown: -1,
  ArrowRight: 1,
  ArrowUp: 1,
  PageDown: -10,
  PageUp: 10,
  Home: -Infinity,
  End: Infinity,
}

/**
 * The chart of hits over time. For the keyboard and screen readers it is a slider: the arrow keys move from bucket to
 * bucket, and Enter opens one.
 */
export class TimelineChart {
  private readonly slider = select('#timeline .slider')
  private readonly canvas = select('#timeline .canvas')
  private readonly tooltip = select('#timeline .tooltip')
  private readonly table = select<HTMLDetailsElement>('#timeline-table')
  private stack: StackedSeries | undefined
  private plot: UPlot | undefined
  /** Identifies the layout of the plot; if it is unchanged, new data is enough. */
  private layout: string | undefined
  /** Index of the current bucket. */
  private current = 0

  constructor(private readonly actions: Actions) {
    this.slider.addEventListener('keydown', event => this.onKey(event))
    this.slider.addEventListener('focus', () => this.moveTo(this.current))
    this.slider.addEventListener('blur', () => this.showTooltip(null))
    this.canvas.addEventListener('click', () => this.open())
    this.table.addEventListener('toggle', () => this.renderTable())
    new ResizeObserver(() => this.plot && resize(this.plot, this.canvas.clientWidth)).observe(
      select('#timeline'),
    )
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw(true))
  }

  show(timeline: Timeline): void {
    const before = this.stack?.starts.length
    this.stack = stackSeries(timeline)
    const buckets = this.stack?.starts.length
    if (buckets !== before) this.current = (buckets ?? 1) - 1
    this.slider.hidden = !this.stack
    select('#timeline .empty').hidden = this.stack !== undefined
    this.draw(false)
    this.describe()
    this.renderLegend()
    this.renderTable()
  }

  private draw(isRedraw: boolean): void {
    const { stack } = this
    const layout = JSON.stringify(stack && [isDense(stack), ...stack.series.map(({ host }) => host)])
    if (stack && this.plot && this.layout === layout && !isRedraw) {
      this.plot.setData(plotData(stack))
      return
    }
    this.layout = layout
    this.plot?.destroy()
    this.plot =
      stack &&
      createPlot(
        this.canvas,
        () => this.stack!,
        i => this.showTooltip(i),
      )
  }

  private onKey(event: KeyboardEvent): void {
    const step = KEY_STEPS[event.key]
    if (step !== undefined) this.moveTo(this.current + step)
    else if (event.key === 'Enter') this.open()
    else if (event.key === 'Escape') this.showTooltip(null)
    else return
    event.preventDefault()
  }

  private moveTo(i: number): void {
    const { stack, plot } = this
    if (!stack || !plot) return
    this.current = Math.min(Math.max(i, 0), stack.starts.length - 1)
    plot.setCursor({ left: this.middleOf(plot, stack, this.current), top: 10 }, false)
    this.describe()
    this.showTooltip(this.current)
  }

  private middleOf(plot: UPlot, { starts, range }: StackedSeries, i: number): number {
    return plot.valToPos(starts[i]! + range.bucket / 2000, 'x')
  }

  private describe(): void {
    if (!this.stack) return
    this.slider.setAttribute('aria-valuemax', String(this.stack.starts.length))
    this.slider.setAttribute('aria-valuenow', String(this.current + 1))
    this.slider.setAttribute('aria-valuetext', describeBucket(this.stack, this.current))
  }

  private showTooltip(i: number | null): void {
    const { stack, plot, tooltip } = this
    tooltip.hidden = i === null || !stack || !plot
    if (i === null || !stack || !plot) return
    this.current = i
    render(<Tooltip stack={stack} bucket={i} />, tooltip)
    const width = this.canvas.clientWidth
    const middle = this.middleOf(plot, stack, i) + Y_AXIS_WIDTH
    const isLeft = middle > width / 2
    tooltip.style.left = isLeft ? '' : `${middle + 12}px`
    tooltip.style.right = isLeft ? `${width - middle + 12}px` : ''
  }

  private open(): void {
    if (!this.stack) return
    const { from, bucket } = this.stack.range
    const start = from + this.current * bucket
    this.actions.selectRange(start, start + bucket)
  }

  private renderLegend(): void {
    const { stack, actions } = this
    render(stack && <Legend stack={stack} onSelect={actions.selectHost} />, select('#legend'))
  }

  /** Only while it is open, because it has a row for each bucket. */
  private renderTable(): void {
    const { stack, table } = this
    render(table.open && stack && <FiguresTable stack={stack} />, select('#timeline-table .scroll'))
  }
}

interface Props {
  stack: StackedSeries
}

function Swatch({ stack, series }: Props & { series: number }) {
  const background = `var(--series-${colourIndex(stack, series)})`
  return <span class="swatch" style={{ background }} aria-hidden="true" />
}

/** Lists the series from the top down, as they are stacked. */
function Tooltip({ stack, bucket }: Props & { bucket: number }) {
  const items = stack.series.map((series, n) => (
    <li>
      <Swatch stack={stack} series={n} />
      <Name>{seriesName(series)}</Name>
      {count(series.hits[bucket]!)}
    </li>
  ))
  return (
    <>
      <p class="tooltip-title">{bucketName(stack, bucket)}</p>
      <p>{count(bucketTotal(stack, bucket))} hits</p>
      <ul>{items.filter((_, n) => stack.series[n]!.hits[bucket]! > 0).reverse()}</ul>
    </>
  )
}

function Legend({ stack, onSelect }: Props & { onSelect: (host: string) => void }) {
  const totals = stack.series.map(({ hits }) => sum(hits, each => each))
  const all = sum(totals, each => each)
  return stack.series.map((series, n) => {
    const { host } = series
    const name = (
      <>
        <Swatch stack={stack} series={n} />
        <Name>{seriesName(series)}</Name>
      </>
    )
    return (
      <li>
        {host === null || stack.series.length === 1 ? (
          name
        ) : (
          <button type="button" title="Show only this host" onClick={() => onSelect(host)}>
            {name}
          </button>
        )}
        <span class="note">
          {count(totals[n]!)}, {share(totals[n]!, all)}
        </span>
      </li>
    )
  })
}

function FiguresTable({ stack }: Props) {
  const column = (name: string, number: (bucket: number) => number): Column<number> => ({
    heading: <Name>{name}</Name>,
    class: 'number',
    cell: bucket => count(number(bucket)),
  })
  const columns: Column<number>[] = [
    { heading: 'Time (UTC)', cell: bucket => bucketName(stack, bucket) },
    column('All', bucket => bucketTotal(stack, bucket)),
    ...stack.series.map(series => column(seriesName(series), bucket => series.hits[bucket]!)),
  ]
  return <Table columns={columns} rows={stack.starts.map((_, bucket) => bucket).reverse()} />
}
