import type { PipelineSettings } from '../core/settings'
import type { WindowSelection } from '../core/window/recount'
import { formatInstant, windowStart } from '../core/window/tumbling-window'
import { UserError } from '../errors'

/** Closed windows, as a person names them: one by a time in it, or a range. Times are epoch milliseconds. */
export interface WindowChoice {
  window?: number | undefined
  from?: number
  to?: number
}

export function selectionOf(
  { window, from, to }: WindowChoice,
  { windowSize }: PipelineSettings,
): WindowSelection {
  if (window !== undefined) {
    const start = windowStart(window, windowSize)
    return { from: start, to: start + windowSize }
  }
  return { ...(from !== undefined && { from }), ...(to !== undefined && { to }) }
}

/** A selection as part of a workflow id, such as `2026-01-31T12:00:00Z..2026-01-31T12:05:00Z`. */
export function selectionName({ from, to, late, unlocated }: WindowSelection): string {
  const ends = [from, to].map(time => (time === undefined ? '' : formatInstant(time)))
  return `${ends.join('..')}${late ? ' late' : ''}${unlocated ? ' unlocated' : ''}`
}

/** @throws UserError if a single window was chosen and none was found */
export function requireFound({ window }: WindowChoice, found: number): void {
  if (window !== undefined && found === 0)
    throw new UserError(
      `No closed window contains ${formatInstant(window)}. If the window is still open, wait until it has closed.`,
    )
}
