import UPlot from 'uplot'
import { compact } from './format'
import type { StackedSeries } from './stacked-series'

const HEIGHT = 260
/** Width of the y axis in pixels. */
export const Y_AXIS_WIDTH = 56
/** Seconds. */
const DAY = 86_400

/** Many bars are drawn without gaps. */
export const isDense = ({ starts }: StackedSeries) => starts.length > 150

/** The last colour stands for all other hosts. */
export const colourIndex = ({ series }: StackedSeries, i: number) => (series[i]?.host === null ? 7 : i % 7)

/** The current value of a colour, which depends on light or dark mode. */
const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

export function resize(plot: UPlot, width: number): void {
  if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT })
}

/**
 * Draws the stack as bars: the highest series first, then each lower one over it.
 *
 * @param current returns the stack on show; the scales follow it if only the data changes
 */
export function createPlot(
  container: HTMLElement,
  current: () => StackedSeries,
  onCursor: (bucket: number | null) => void,
): UPlot {
  const stack = current()
  const barWidth = isDense(stack) ? 1 : 0.86
  const bars = UPlot.paths.bars!({ size: [barWidth, 160], align: 1, gap: 0 })
  const axis = {
    stroke: colour('--muted'),
    grid: { stroke: colour('--grid'), width: 1 },
    ticks: { show: false },
    font: '12px system-ui, sans-serif',
  }
  const series = stack.series.map((_, i): UPlot.Series => {
    const paint = colour(`--series-${colourIndex(stack, i)}`)
    return { fill: paint, stroke: paint, width: 0, paths: bars, points: { show: false } }
  })
  return new UPlot(
    {
      width: Math.max(container.clientWidth, 200),
      height: HEIGHT,
      padding: [12, 36, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      tzDate: seconds => UPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
      scales: {
        x: { time: true, range: () => [current().range.from / 1000, current().range.to / 1000] },
        y: { range: (_, __, max) => [0, Math.max(max * 1.06, 1)] },
      },
      axes: [
        {
          ...axis,
          size: 30,
          grid: { show: false },
          space: 90,
          values: (_, ticks, __, ___, step) => ticks.map(seconds => tickLabel(seconds, step)),
        },
        { ...axis, size: Y_AXIS_WIDTH, values: (_, ticks) => ticks.map(compact) },
      ],
      series: [{}, ...series.reverse()],
      hooks: { setCursor: [plot => onCursor(bucketAtCursor(plot, current()))] },
    },
    plotData(stack),
    container,
  )
}

export const plotData = ({ starts, heights }: StackedSeries): UPlot.AlignedData => [
  starts,
  ...[...heights].reverse(),
]

/** uPlot's own index is that of the nearest start, which may be the next bucket's. */
function bucketAtCursor(plot: UPlot, { range, starts }: StackedSeries): number | null {
  const { left } = plot.cursor
  if (left === undefined || left < 0) return null
  const i = Math.floor((plot.posToVal(left, 'x') * 1000 - range.from) / range.bucket)
  return i >= 0 && i < starts.length ? i : null
}

/** The time in UTC, or the date at midnight. */
function tickLabel(seconds: number, step: number): string {
  const date = new Date(seconds * 1000)
  if (step >= DAY || seconds % DAY === 0)
    return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' })
  return date.toISOString().slice(11, step < 60 ? 19 : 16)
}
