import type { Ledger, LedgerRules } from '../core/window/ledger'
import { markdownTable } from '../contract/markdown'
import { formatInstant, formatWindow } from '../core/window/tumbling-window'
import { describeUnsettled, unsettledWindows } from '../contract/unsettled'
import { watermark } from '../core/window/watermark'
import { grouped } from '../core/numbers'

/** How many windows a list names. */
const MAX_SHOWN = 20

/** The ledger as Markdown for the Web UI: its windows, what the oldest one waits for, and its partitions. */
export function describeLedger(ledger: Ledger, rules: LedgerRules): string {
  const { open, closing, closed } = ledger.windowCounts
  const { records, hits, late, rejected } = ledger.totals
  const lag = Object.values(ledger.partitions).reduce((sum, entry) => sum + (lagOf(entry) ?? 0), 0)
  return [
    `**${grouped(open)}** windows open, **${grouped(closing)}** closing, **${grouped(closed)}** closed. ` +
      `**${grouped(records)}** records done: ${grouped(hits)} hits, ${grouped(late)} late, ${grouped(rejected)} rejected. ` +
      `Lag: **${grouped(lag)}** records.`,
    '',
    oldestWindow(ledger, rules),
    '',
    ...closingWindows(ledger, rules),
    ...openWindows(ledger, rules),
    '#### Partitions',
    ...partitions(ledger, rules),
  ].join('\n')
}

/** As of the poller's last message. */
function lagOf({ end, position }: Ledger['partitions'][number]): number | undefined {
  return end === undefined ? undefined : Math.max(0, end - position)
}

function oldestWindow(ledger: Ledger, rules: LedgerRules): string {
  const oldest = ledger.oldestWaiting
  if (oldest === undefined) return 'No window is waiting.'
  const { start, until, holders } = oldest
  const name = formatWindow(start, rules.windowSize)
  if (holders.length === 0) return `The oldest, ${name}, waits for no partition.`
  const named = holders.slice(0, 5).map(partition => {
    const entry = ledger.partitions[partition]
    if (!entry) return `partition ${partition}: no poller has claimed it yet`
    if (entry.basis === null) return `partition ${partition}: no event yet`
    return `partition ${partition}: watermark ${formatInstant(watermark(entry.basis, rules.watermarkDelay))}`
  })
  const more = holders.length > named.length ? `, and ${holders.length - named.length} more` : ''
  return `The oldest, **${name}**, waits for ${formatInstant(until)} in ${named.join('; ')}${more}.`
}

function openWindows({ openWindows }: Ledger, { windowSize }: LedgerRules): string[] {
  const lines = openWindows.map(start => formatWindow(start, windowSize))
  return list('Open windows', lines, 'newer ones')
}

/** Lists first the windows that need a repair. */
function closingWindows({ closing }: Ledger, { windowSize }: LedgerRules): string[] {
  const incomplete = unsettledWindows(closing, -Infinity)
  const isIncomplete = new Set(incomplete.map(({ start }) => start))
  const others = [...new Set(closing.map(({ start }) => start))].filter(start => !isIncomplete.has(start))
  const lines = [
    ...incomplete.map(window => `**Incomplete**: ${describeUnsettled(window, windowSize)}`),
    ...others.sort((a, b) => a - b).map(start => formatWindow(start, windowSize)),
  ]
  return list('Closing windows', lines, 'more')
}

function list(title: string, lines: string[], others: string): string[] {
  if (lines.length === 0) return []
  const rest = lines.length - MAX_SHOWN
  const more = rest > 0 ? [`- and ${grouped(rest)} ${others}`] : []
  return [`#### ${title}`, ...lines.slice(0, MAX_SHOWN).map(line => `- ${line}`), ...more, '']
}

function partitions(ledger: Ledger, { watermarkDelay }: LedgerRules): string[] {
  const rows = Object.entries(ledger.partitions).map(([partition, entry]) => {
    const { position, basis, announcedTo, idleAt, poller, totals } = entry
    return [
      partition,
      String(poller),
      position,
      lagOf(entry) ?? '',
      basis === null ? '' : formatInstant(watermark(basis, watermarkDelay)),
      announcedTo === null ? '' : `to ${grouped(announcedTo)}`,
      idleAt === null ? '' : formatInstant(idleAt),
      ...[totals.records, totals.hits, totals.late, totals.rejected],
    ]
  })
  const head = ['partition', 'poller', 'position', 'lag', 'watermark', 'announced', 'idle since']
  return markdownTable([...head, 'records', 'hits', 'late', 'rejected'], rows)
}
