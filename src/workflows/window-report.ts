import { groups, type ColumnarCounts } from '../core/counts/columnar'
import { code, joinSentences, markdownTable } from '../contract/markdown'
import type { AppliedPartition, Overlap } from '../core/window/protocol'
import { ingestId } from '../contract/ids'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/window/tumbling-window'
import type { Stuck, Told, WindowProgress } from '../contract/messages'
import { grouped } from '../core/numbers'

export interface WindowReport extends Omit<WindowProgress, 'groups'> {
  settings: PipelineSettings
  start: number
  name: string
  told: Told
  /** The summary, once the run has ended. */
  outcome: string | undefined
  overlaps: Overlap[]
  /** What this run has merged, without pieces, staged deltas, and deltas that wait for Postgres. */
  counts: ColumnarCounts
  applied: AppliedPartition[]
}

const TOP = 10

/** A window as Markdown for the Web UI. */
export function describeWindow(report: WindowReport): string {
  const { name, state, stuck, outcome, counts, applied } = report
  const parts = report.pieces + report.staged
  const top = topReferrers(counts)
  const lines = [`### ${name} is ${stuck ? 'stuck' : state}`, outcome ?? progress(report, top.groups)]
  const next = stuck ? explainStuck(stuck) : waiting(report)
  if (next !== '') lines.push('', next)
  if (top.rows.length > 0) {
    lines.push('', `#### Top referrers${parts > 0 ? ' of the counts here' : ''}`, '')
    lines.push(...markdownTable(['referrer', 'hits'], top.rows))
  }
  if (applied.length > 0) {
    const rows = applied.map(({ partition, from, last }) => [String(partition), from, last])
    lines.push('', '#### Read from Kafka', '')
    lines.push(...markdownTable(['partition', 'from offset', 'to offset'], rows))
  }
  return lines.join('\n')
}

function progress(report: WindowReport, groups: number): string {
  const { state, hits, deltas, pieces, staged } = report
  const parts = pieces + staged
  const held = parts > 0 ? ` here, and more in ${grouped(parts)} parts in Postgres` : ''
  const inGroups = state === 'opening' ? '' : ` in **${grouped(groups)}** groups${held}`
  return `**${grouped(hits)}** hits${inGroups}, from ${grouped(deltas)} deltas. ${asides(report)}`
}

function explainStuck({ step, since, reason, nextTry }: Stuck): string {
  if (reason !== undefined && nextTry !== undefined)
    return `**Stuck**: since ${formatInstant(since)} it has tried to ${step}. ${explainRefusal(reason, nextTry)}`
  if (reason !== undefined) return `**Stuck** since ${formatInstant(since)}: ${reason}`
  return (
    `**Stuck**: since ${formatInstant(since)} it has tried to ${step}. The pending activity shows the reason and the ` +
    'next retry. Once the cause is fixed, the window continues automatically.'
  )
}

/** A step that a person has to fix, and how. */
export function explainRefusal(reason: string, nextTry: number): string {
  return (
    `${reason} Fix that, then run ${code('web-traffic retry')} or send the signal ${code('retry')}; the next automatic ` +
    `retry is at ${formatInstant(nextTry)}.`
  )
}

/** What the window waits for. Only the ledger knows for which partition. */
function waiting({ settings, start, state, told }: WindowReport): string {
  if (state === 'opening') return 'It waits for Postgres to say whether an earlier run closed it.'
  if (state !== 'open' && state !== 'published') return ''
  const lateness = state === 'published' ? settings.allowedLateness : 0
  const end = start + settings.windowSize + lateness
  const clock = formatInstant(end + settings.watermarkDelay)
  if (told === 'close' || (told === 'publish' && state === 'open'))
    return `Every partition has reached ${formatInstant(end)}; it waits for the clock to pass ${clock}.`
  return (
    `It waits for the clock to pass ${clock}, and for the watermark of every partition to reach ` +
    `${formatInstant(end)}: the workflow ${code(ingestId(settings.group))} shows which one is behind.`
  )
}

function asides({ revision, unlocated, lateHits, repeats, overlaps }: WindowReport): string {
  return joinSentences(
    `Late so far: ${grouped(lateHits)} hits.`,
    revision > 0 && `The result is revision ${revision}${revision > 1 ? ', corrected' : ''}.`,
    unlocated > 0 &&
      `**${grouped(unlocated)} hits** are under ${code('??')} because their lookup failed: ` +
        `${code('web-traffic replay --unlocated')} looks them up again once the window is closed.`,
    repeats > 0 && `${grouped(repeats)} repeats were dropped.`,
    overlaps.length > 0 &&
      `**${grouped(overlaps.length)} deltas overlap and are not counted: replay the window.**`,
  )
}

function topReferrers(counts: ColumnarCounts): { groups: number; rows: (string | number)[][] } {
  const hitsOf = new Map<string, number>()
  let size = 0
  for (const { referrer, hits } of groups(counts)) {
    size++
    hitsOf.set(referrer, (hitsOf.get(referrer) ?? 0) + hits)
  }
  const top = [...hitsOf].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, TOP)
  return { groups: size, rows: top.map(([referrer, hits]) => [referrer ? code(referrer) : '(none)', hits]) }
}
