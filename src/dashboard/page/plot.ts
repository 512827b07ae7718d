import UPlot from 'uplot'
import { compact } from './format'
import type { Stack } from './stack'

const HEIGHT = 260
const DAY = 86_400

/** The number of the colour of a layer; the rest of all hosts has the last one. */
export const colourOf = (stack: Pick<Stack, 'layers'>, layer: number) =>
  stack.layers[layer]?.host === null ? 7 : layer % 7

/** The colours of the page as they are now, light or dark. */
const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

export function resize(plot: UPlot, width: number): void {
  if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT })
}

/**
 * Draws a stack as bars. The tallest layer is drawn first, and each one below it over it.
 *
 * @param current what is shown now: the scales follow it when only the figures change
 */
export function plot(
  container: HTMLElement,
  current: () => Stack,
  onCursor: (i: number | null) => void,
): UPlot {
  const stack = current()
  const dense = stack.starts.length > 150
  const bars = UPlot.paths.bars!({ size: [dense ? 1 : 0.86, 160], align: 1, gap: 0 })
  const axis = {
    stroke: colour('--muted'),
    grid: { stroke: colour('--grid'), width: 1 },
    ticks: { show: false },
    font: '12px system-ui, sans-serif',
  }
  const layers = stack.layers.map((_, layer): UPlot.Series => {
    const paint = colour(`--series-${colourOf(stack, layer)}`)
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
        x: { time: true, range: () => [current().span.from / 1000, current().span.to / 1000] },
        y: { range: (_, __, most) => [0, Math.max(most * 1.06, 1)] },
      },
      axes: [
        {
          ...axis,
          size: 30,
          grid: { show: false },
          space: 90,
          values: (_, splits, __, ___, step) => times(splits, step),
        },
        { ...axis, size: 56, values: (_, splits) => splits.map(value => compact(value)) },
      ],
      series: [{}, ...layers.reverse()],
      hooks: { setCursor: [plot => onCursor(bucketUnder(plot, current()))] },
    },
    figures(stack),
    container,
  )
}

export function figures({ starts, heights }: Stack): UPlot.AlignedData {
  return [starts, ...[...heights].reverse()]
}

/** uPlot finds the nearest start; a bucket is under the cursor from its start to its end. */
function bucketUnder(plot: UPlot, { span, starts }: Stack): number | null {
  const { left } = plot.cursor
  if (left === undefined || left < 0) return null
  const i = Math.floor((plot.posToVal(left, 'x') * 1000 - span.from) / span.bucket)
  return i >= 0 && i < starts.length ? i : null
}

/** Ticks in UTC; midnight is named by its day. */
function times(splits: number[], step: number): string[] {
  return splits.map(seconds => {
    const text = new Date(seconds * 1000).toISOString()
    const day = new Date(seconds * 1000).toLocaleDateString('en-GB', {
      day: 'numeric',
      month: 'short',
      timeZone: 'UTC',
    })
    if (step >= DAY || seconds % DAY === 0) return day
    return text.slice(11, step < 60 ? 19 : 16)
  })
}
