import './language'
import { formatWindow } from '../../core/window/tumbling-window'
import type { Breakdown, Live, Ranking, ResultsNow, Timeline, WindowDetail, WindowPage } from '../messages'
import { choiceAddress, readChoice, selectionQuery, type Choice } from './choice'
import { Choices } from './choices'
import { select, make, setText } from './dom'
import { count, countryName, instant, length, visible } from './format'
import { Glance } from './glance'
import { Loader } from './loader'
import { OpenWindows } from './open-windows'
import { Partitions } from './partitions'
import { rankingTable, rest } from './ranking'
import { listen } from './server'
import { TimelineChart } from './timeline'
import { referrerName, WindowPanel } from './window-detail'
import { WindowList } from './windows'

/** Of windows that close one after the other, so often one is read out at most. */
const ANNOUNCE_EVERY = 30_000

let choice = readChoice(new URLSearchParams(location.search))
let windowSize = 60_000
let announced = Date.now()
let known: ResultsNow | undefined

const glance = new Glance()
const partitions = new Partitions()
const choices = new Choices(change => choose({ ...choice, ...change }))
const panel = new WindowPanel(() => closeWindow())
const list = new WindowList(pickWindow, () => windows.load())
const open = new OpenWindows(pickWindow)
const chart = new TimelineChart({
  pickHost: host => choose({ ...choice, host }),
  pickBucket: (from, to) =>
    to - from <= windowSize ? pickWindow(from) : choose({ ...choice, range: undefined, from, to }),
})

const timeline = new Loader<Timeline>(
  () => ['/api/timeline', selectionQuery(choice)],
  showTimeline,
  '#timeline-note',
)
const breakdown = new Loader<Breakdown>(
  () => ['/api/breakdown', selectionQuery(choice)],
  showBreakdown,
  '#referrers-note',
)
const windows = new Loader<WindowPage>(
  () => ['/api/windows', time('before', list.before)],
  page => list.show(page, choice.window),
  '#windows-note',
)
const detail = new Loader<WindowDetail>(
  () => ['/api/window', time('start', choice.window)],
  found => panel.show(found, windowSize),
  '#window-note',
)

const time = (name: string, value: number | undefined) =>
  new URLSearchParams(value === undefined ? {} : { [name]: new Date(value).toISOString() })

/** Everything that Postgres was asked for, anew. */
function reload(): void {
  for (const loader of [timeline, breakdown, windows]) loader.load()
  if (choice.window !== undefined) detail.load()
}

function choose(chosen: Choice): void {
  choice = chosen
  history.pushState(null, '', choiceAddress(choice))
  timeline.load()
  breakdown.load()
}

function pickWindow(start: number): void {
  choice = { ...choice, window: start }
  history.pushState(null, '', choiceAddress(choice))
  list.mark(start)
  panel.focus()
  detail.load()
}

function closeWindow(): void {
  const { window: start } = choice
  choice = { ...choice, window: undefined }
  history.pushState(null, '', choiceAddress(choice))
  list.mark(undefined)
  panel.clear()
  const button = document.querySelector<HTMLElement>(`#windows button[data-start="${start}"]`)
  ;(button ?? select('#newest')).focus()
}

function showTimeline(found: Timeline): void {
  const { span, hits } = found
  if (span) windowSize = span.windowSize
  chart.show(found)
  choices.show(choice, found)
  setText(select('#hits'), count(hits))
  const bars = span && `${instant(span.from)} to ${instant(span.to)} UTC, a bar is ${length(span.bucket)}`
  setText(select('#timeline-note'), bars ?? '')
}

function showBreakdown({ referrers, countries, late }: Breakdown): void {
  fill('referrers', 'Referrer', referrers, referrerName)
  fill('countries', 'Country', countries, countryName)
  setText(select('#late'), count(late.reduce((sum, { hits }) => sum + hits, 0)))
  partitions.showLate(late)
}

function fill(id: string, name: string, ranked: Ranking, show: (name: string) => string): void {
  const table = rankingTable(ranked.top, ranked.hits, {
    name,
    figure: 'Hits',
    show,
    caption: `Hits by ${name.toLowerCase()}`,
  })
  select(`#${id}`).replaceChildren(
    ranked.top.length > 0 ? table : make('p', { class: 'nothing' }, 'None in this range.'),
  )
  setText(select(`#${id}-note`), rest(ranked))
}

function hear(live: Live): void {
  glance.show(live)
  partitions.show(live)
  if (live.pipeline.value) open.show(live.pipeline.value, live.at)
  const { value, problem } = live.results
  if (!value || problem !== null) return
  showRejected(value.rejected)
  const changed = JSON.stringify(value.newest) !== JSON.stringify(known?.newest)
  if (changed && known) announce(known, value)
  known = value
  if (changed || timeline.failed || breakdown.failed || windows.failed) reload()
}

function showRejected(rejected: ResultsNow['rejected']): void {
  if (JSON.stringify(rejected) === JSON.stringify(known?.rejected)) return
  const all = rejected.reduce((sum, { records }) => sum + records, 0)
  const rows = rejected.map(({ reason, records }) => ({ name: reason, hits: records }))
  const labels = { name: 'Reason', figure: 'Records', show: visible, caption: 'Rejected records by reason' }
  const none = make('p', { class: 'nothing' }, 'None.')
  select('#rejected-reasons').replaceChildren(all > 0 ? rankingTable(rows, all, labels) : none)
}

function announce(before: ResultsNow, { newest }: ResultsNow): void {
  const last = before.newest[0]?.start ?? -Infinity
  const [window] = newest.filter(({ start }) => start > last)
  if (!window || Date.now() - announced < ANNOUNCE_EVERY) return
  announced = Date.now()
  const name = formatWindow(window.start, window.end - window.start)
  setText(select('#announcements'), `${name} has its result: ${count(window.hits)} hits.`)
}

addEventListener('popstate', () => {
  choice = readChoice(new URLSearchParams(location.search))
  if (choice.window === undefined) panel.clear()
  list.mark(choice.window)
  reload()
})
listen(hear, connected => glance.showConnection(connected))
reload()
// Windows that are not the newest change too: by replays, and while a history is read.
setInterval(reload, 30_000)
