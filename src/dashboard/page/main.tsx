import './language'
import { render } from 'preact'
import { formatDuration } from '../../core/duration'
import { formatWindow } from '../../core/window/tumbling-window'
import type { Breakdown, LiveStatus, PipelineSummary, Ranking, RecentResults, Timeline } from '../api'
import type { WindowDetail, WindowPage } from '../api'
import { subscribe } from './api-client'
import { select, setText } from './dom'
import { Filters } from './filters'
import { count, countryName, dateTime, escapeInvisible, referrerName, sum } from './format'
import { Loader } from './loader'
import { showOpenWindows } from './open-windows'
import { Partitions } from './partitions'
import { RankingTable, remainder } from './ranking'
import { Summary } from './summary'
import { TimelineChart } from './timeline'
import { parseView, selectionQuery, toQuery, viewUrl, type View } from './view'
import { WindowPanel } from './window-panel'
import { WindowList } from './windows'

/** Screen readers hear of a closed window at most this often, milliseconds. */
const ANNOUNCE_INTERVAL = 30_000
/** Replays also change windows that are not the newest, without any event, milliseconds. */
const RELOAD_INTERVAL = 30_000

const urlView = () => parseView(new URLSearchParams(location.search))

let view = urlView()
let windowSize = 60_000
let announcedAt = Date.now()
let results: RecentResults | undefined
let pipeline: PipelineSummary | null = null
/** How far the server's clock is ahead of the browser's. */
let clockOffset = 0

const summary = new Summary()
const partitions = new Partitions()
const filters = new Filters(changeSelection)
const panel = new WindowPanel(closeWindow)
const list = new WindowList(openWindow, () => windows.load())
const chart = new TimelineChart({
  selectHost: host => changeSelection({ host }),
  selectRange: (from, to) =>
    to - from <= windowSize ? openWindow(from) : changeSelection({ range: undefined, from, to }),
})

const timelineUrl = () => `/api/timeline?${selectionQuery(view)}`
const breakdownUrl = () => `/api/breakdown?${selectionQuery(view)}`
const windowsUrl = () => `/api/windows?${toQuery({ before: list.before })}`
const detailUrl = () => `/api/window?${toQuery({ start: view.window })}`
const showPage = (page: WindowPage) => list.show(page, view.window)
const showDetail = (found: WindowDetail) => panel.show(found, windowSize)

const timeline = new Loader(timelineUrl, showTimeline, '#timeline-note')
const breakdown = new Loader(breakdownUrl, showBreakdown, '#referrers-note')
const windows = new Loader(windowsUrl, showPage, '#windows-note')
const detail = new Loader(detailUrl, showDetail, '#window-note')

function reload(): void {
  for (const loader of [timeline, breakdown, windows]) loader.load()
  if (view.window !== undefined) detail.load()
}

function changeView(changes: View): void {
  view = { ...view, ...changes }
  history.pushState(null, '', viewUrl(view))
  list.highlight(view.window)
}

function changeSelection(changes: View): void {
  changeView(changes)
  timeline.load()
  breakdown.load()
}

function openWindow(start: number): void {
  changeView({ window: start })
  panel.focus()
  detail.load()
}

function closeWindow(): void {
  const start = view.window
  changeView({ window: undefined })
  panel.clear()
  const button = document.querySelector<HTMLElement>(`#windows button[data-start="${start}"]`)
  ;(button ?? select('#newest')).focus()
}

function showTimeline(found: Timeline): void {
  const { range, hits } = found
  chart.show(found)
  filters.show(view, found)
  setText('#hits', count(hits))
  if (!range) return setText('#timeline-note', '')
  windowSize = range.windowSize
  const length = formatDuration(range.bucket)
  setText('#timeline-note', `${dateTime(range.from)} to ${dateTime(range.to)} UTC, one bar is ${length}`)
}

function showBreakdown({ referrers, countries, late }: Breakdown): void {
  showRanking('referrers', 'Referrer', referrers, referrerName)
  showRanking('countries', 'Country', countries, countryName)
  setText('#late', count(sum(late, ({ hits }) => hits)))
  partitions.showLate(late)
}

function showRanking(id: string, name: string, ranking: Ranking, label: (name: string) => string): void {
  const { top, hits } = ranking
  const headings = { caption: `Hits by ${name.toLowerCase()}`, nameHeading: name }
  const table = (
    <RankingTable rows={top} total={hits} {...headings} label={label} placeholder="None in this range." />
  )
  render(table, select(`#${id}`))
  setText(`#${id}-note`, remainder(ranking, top))
}

function showRejected(rejected: RecentResults['rejected']): void {
  const rows = rejected.map(({ reason, records }) => ({ name: reason, hits: records }))
  const headings = { caption: 'Rejected records by reason', nameHeading: 'Reason', numberHeading: 'Records' }
  const total = sum(rows, ({ hits }) => hits)
  const table = (
    <RankingTable rows={rows} total={total} {...headings} label={escapeInvisible} placeholder="None." />
  )
  render(table, select('#rejected-reasons'))
}

function showStatus(status: LiveStatus): void {
  summary.show(status)
  partitions.show(status)
  clockOffset = status.at - Date.now()
  pipeline = status.pipeline.value
  refreshOpenWindows()
  const { value, problem } = status.results
  if (!value || problem !== null) return
  showRejected(value.rejected)
  const before = results
  results = value
  const changed = JSON.stringify(value.newest) !== JSON.stringify(before?.newest)
  if (changed && before) announce(before, value)
  if (changed || timeline.failed || breakdown.failed || windows.failed) reload()
}

function refreshOpenWindows(): void {
  if (pipeline) showOpenWindows(pipeline, Date.now() + clockOffset, openWindow)
}

function announce(before: RecentResults, { newest: [newest] }: RecentResults): void {
  const last = before.newest[0]?.start ?? -Infinity
  if (!newest || newest.start <= last || Date.now() - announcedAt < ANNOUNCE_INTERVAL) return
  announcedAt = Date.now()
  const name = formatWindow(newest.start, newest.end - newest.start)
  setText('#announcements', `Window ${name} has its result: ${count(newest.hits)} hits.`)
}

addEventListener('popstate', () => {
  view = urlView()
  if (view.window === undefined) panel.clear()
  list.highlight(view.window)
  reload()
})
subscribe(showStatus, connected => summary.showConnection(connected))
reload()
setInterval(reload, RELOAD_INTERVAL)
setInterval(refreshOpenWindows, 1_000)
