import type { Ledger, LedgerRules } from '../core/window/ledger'
import { markdownTable } from '../contract/markdown'
import { formatInstant, formatWindow } from '../core/window/tumbling-window'
import { describeUnsettled, unsettledWindows } from '../contract/unsettled'
import { watermark } from '../core/window/watermark'
import { grouped } from '../core/numbers'

/** Windows that are named; the others are counted. */
const SHOWN_WINDOWS = 20

/** The ledger in Markdown, for the Temporal Web UI: its windows, what holds the oldest back, its partitions. */
export function describeLedger(ledger: Ledger, rules: LedgerRules): string {
  const { open, closing, closed } = ledger.windowCounts
  const { records, hits, late, rejected } = ledger.totals
  return [
    `**${grouped(open)}** windows open, **${grouped(closing)}** closing, **${grouped(closed)}** closed. **${grouped(records)}** records done: ` +
      `${grouped(hits)} hits, ${grouped(late)} late, ${grouped(rejected)} rejected. ` +
      `**${grouped(lagOf(ledger))}** are still to be read.`,
    '',
    heldBack(ledger, rules),
    '',
    ...closingWindows(ledger, rules),
    ...openWindows(ledger, rules),
    '#### Partitions',
    ...partitions(ledger, rules),
  ].join('\n')
}

/** As the pollers last said. */
function lagOf(ledger: Ledger): number {
  return Object.values(ledger.partitions).reduce((sum, entry) => sum + (lag(entry) ?? 0), 0)
}

function lag({ end, position }: Ledger['partitions'][number]): number | undefined {
  return end === undefined ? undefined : Math.max(0, end - position)
}

function heldBack(ledger: Ledger, rules: LedgerRules): string {
  const oldest = ledger.oldestWaiting
  if (oldest === undefined) return 'No window waits.'
  const { start, until, holders } = oldest
  const name = formatWindow(start, rules.windowSize)
  if (holders.length === 0) return `The oldest, ${name}, is held by no partition.`
  const named = holders.slice(0, 5).map(partition => {
    const entry = ledger.partitions[partition]
    if (!entry) return `partition ${partition}: no poller has claimed it yet`
    if (entry.basis === null) return `partition ${partition}: no event yet`
    return `partition ${partition}: watermark ${formatInstant(watermark(entry.basis, rules.watermarkDelay))}`
  })
  const more = holders.length > named.length ? `, and ${holders.length - named.length} more` : ''
  return `The oldest, **${name}**, needs ${formatInstant(until)} and is held by ${named.join('; ')}${more}.`
}

function openWindows(ledger: Ledger, { windowSize }: LedgerRules): string[] {
  const open = ledger.openWindows
  if (open.length === 0) return []
  const names = open.slice(0, SHOWN_WINDOWS).map(start => `- ${formatWindow(start, windowSize)}`)
  const more = open.length > SHOWN_WINDOWS ? [`- and ${grouped(open.length - SHOWN_WINDOWS)} newer ones`] : []
  return ['#### Open windows', ...names, ...more, '']
}

/** Those that need a person come first, with the command. */
function closingWindows(ledger: Ledger, { windowSize }: LedgerRules): string[] {
  const { closing } = ledger
  if (closing.length === 0) return []
  const incomplete = unsettledWindows(closing, -Infinity)
  const isIncomplete = new Set(incomplete.map(({ start }) => start))
  const others = [...new Set(closing.map(({ start }) => start))].filter(start => !isIncomplete.has(start))
  const lines = [
    ...incomplete.map(window => `- **Incomplete**: ${describeUnsettled(window, windowSize)}`),
    ...others.sort((a, b) => a - b).map(start => `- ${formatWindow(start, windowSize)}`),
  ]
  const more = lines.length > SHOWN_WINDOWS ? [`- and ${grouped(lines.length - SHOWN_WINDOWS)} more`] : []
  return ['#### Closing windows', ...lines.slice(0, SHOWN_WINDOWS), ...more, '']
}

function partitions(ledger: Ledger, { watermarkDelay }: LedgerRules): string[] {
  const rows = Object.entries(ledger.partitions).map(([partition, entry]) => {
    const { position, basis, announcedTo, idleAt, poller, totals } = entry
    return [
      partition,
      String(poller),
      position,
      lag(entry) ?? '',
      basis === null ? '' : formatInstant(watermark(basis, watermarkDelay)),
      announcedTo === null ? '' : `to ${grouped(announcedTo)}`,
      idleAt === null ? '' : formatInstant(idleAt),
      ...[totals.records, totals.hits, totals.late, totals.rejected],
    ]
  })
  const head = ['partition', 'poller', 'position', 'lag', 'watermark', 'being sent', 'idle since']
  return markdownTable([...head, 'records', 'hits', 'late', 'rejected'], rows)
}
