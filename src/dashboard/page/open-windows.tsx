import { render } from 'preact'
import { formatWindow } from '../../core/window/tumbling-window'
import type { Stuck } from '../../contract/messages'
import type { OpenWindow, PipelineSummary, Waiting } from '../api'
import { ExternalLink } from './components'
import { select, setText } from './dom'
import { count, escapeInvisible, roundedDuration, timeOfDay } from './format'

const STATES = {
  opening: 'opening',
  open: 'filling',
  published: 'published, takes corrections',
  closing: 'being written',
  closed: 'closed',
  unknown: 'announced',
}

/** The open windows, each with its progress to its end and through the wait for late events. */
export function showOpenWindows(
  pipeline: PipelineSummary,
  now: number,
  onSelect: (start: number) => void,
): void {
  setText('#open-note', describe(pipeline))
  const cards = pipeline.open.map(window => (
    <Card key={window.start} window={window} now={now} onSelect={() => onSelect(window.start)} />
  ))
  render(cards, select('#open'))
}

function describe({ openCount, open, waiting, closed, unsettled, unsettledCount }: PipelineSummary): string {
  const unnamed = unsettledCount - unsettled.length
  return [
    openCount === 0 && 'No window is open.',
    openCount > open.length && `The oldest and newest of ${count(openCount)}.`,
    waiting && describeWaiting(waiting),
    `${count(closed)} closed so far.`,
    ...unsettled,
    unnamed > 0 && `${count(unnamed)} more are incomplete or do not answer.`,
  ]
    .filter(Boolean)
    .join(' ')
}

function describeWaiting({ until, partitions, count: total }: Waiting): string {
  if (total === 0) return 'The oldest waits for no partition.'
  const more = total > partitions.length ? ` and ${count(total - partitions.length)} more` : ''
  return `The oldest waits for partition ${partitions.join(', ')}${more} to reach ${timeOfDay(until)}.`
}

function Card({ window, now, onSelect }: { window: OpenWindow; now: number; onSelect: () => void }) {
  const { start, end, due, progress, workflow } = window
  const name = formatWindow(start, end - start)
  const percentAt = (time: number) => 100 * Math.min(1, Math.max(0, (time - start) / (due - start)))
  const state = progress?.state ?? 'unknown'
  return (
    <li class={progress?.stuck ? 'open-window stuck' : 'open-window'}>
      <button type="button" class="window-name" onClick={onSelect}>
        {name}
      </button>
      <p class="open-hits">{progress ? `${count(progress.hits)} hits` : '–'}</p>
      <div
        class="fill"
        role="progressbar"
        aria-label={`Time of ${name}`}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(percentAt(now))}
      >
        <div class="fill-done" style={{ width: `${percentAt(now)}%` }} />
        <div class="fill-end" style={{ left: `${percentAt(end)}%` }} />
      </div>
      <p class="note">
        {progress?.stuck ? describeStuck(progress.stuck) : `${STATES[state]}, ${phase(state, end, due, now)}`}
      </p>
      <ExternalLink url={workflow} label={`${name} in the Temporal Web UI`}>
        In the Temporal Web UI
      </ExternalLink>
    </li>
  )
}

function phase(state: keyof typeof STATES, end: number, due: number, now: number): string {
  if (state === 'closing') return 'every partition has reached its end'
  if (now < end) return `ends in ${roundedDuration(end - now)}`
  if (now < due) return `waits ${roundedDuration(due - now)} for late events`
  return 'waits for partitions'
}

function describeStuck({ step, since, reason, nextTry }: Stuck): string {
  const because = reason === undefined ? '' : ` ${escapeInvisible(reason)}`
  const next =
    nextTry === undefined ? '' : ` Next retry at ${timeOfDay(nextTry)}, or after web-traffic retry.`
  return `Stuck since ${timeOfDay(since)}: cannot ${step}.${because}${next}`
}
