import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import type { GoneOffsets, Repaired, RepairInput, RepairOutcome } from '../contract/activities'
import { ingestId, windowId } from '../contract/ids'
import { closeWindow, retry, settled, windowSource } from '../contract/messages'
import { EventReader } from '../core/event/event-reader'
import type { WindowSource } from '../core/window/ledger'
import type { AppliedPartition, ToldBook } from '../core/window/protocol'
import { lastCounted, Recount, type LogStretch, type StretchRecount } from '../core/window/recount'
import { formatInstant } from '../core/window/tumbling-window'
import { topicOffsets, withAdmin } from '../kafka/client'
import { balanceOf } from '../postgres/books'
import { isPastRetention } from '../postgres/closed-windows'
import type { Db } from '../postgres/database'
import { repairWindow as publish } from '../postgres/repair-window'
import { findWindowRow } from '../postgres/window-row'
import { readerRules } from './reader-rules'
import { countRanges, type RecountDependencies } from './recount'

/** Where the log has a window's records, and what was announced for the window. */
export interface RepairSource {
  stretches: LogStretch[]
  books: ToldBook[]
}

/** Counts a window again from the log, publishes it, and informs its run and the ledger. Idempotent. */
export async function repairWindow(
  input: RepairInput,
  dependencies: RecountDependencies,
): Promise<RepairOutcome> {
  const source = await findSource(input, dependencies)
  if (typeof source === 'string') return { outcome: 'refused', reason: source }
  const repaired = await repairFrom(source, input, dependencies)
  if (repaired.outcome === 'repaired' || repaired.outcome === 'unchanged')
    await informWorkflows(input, source.books, repaired, dependencies.client)
  return repaired
}

export async function repairFrom(
  { stretches, books }: RepairSource,
  input: RepairInput,
  dependencies: RecountDependencies,
): Promise<RepairOutcome> {
  const { settings, start, acceptLoss } = input
  const { recount, readers, gone } = await countAgain(stretches, input, dependencies)
  if (gone.length > 0 && !acceptLoss && (await hasNoBooks(dependencies.db, start, books)))
    return { outcome: 'refused', reason: GONE }
  const published = await publish(dependencies.db, {
    start,
    end: start + settings.windowSize,
    topic: settings.topic,
    counter: recount.counterOf(start),
    stretches: withLost => readers.map(reader => reader.counted(withLost)),
    books,
    acceptLoss,
  })
  return { ...published, gone }
}

const GONE =
  'Kafka no longer has all of its records, and because it was opened under a release without books, their number is ' +
  'unknown. Use --accept-loss to publish what is left.'

async function hasNoBooks(db: Db, start: number, books: ToldBook[]): Promise<boolean> {
  return books.every(book => !('hits' in book)) && (await balanceOf(db, start)) === undefined
}

async function countAgain(
  stretches: LogStretch[],
  { settings, start }: RepairInput,
  dependencies: RecountDependencies,
): Promise<{ recount: Recount; readers: StretchRecount[]; gone: GoneOffsets[] }> {
  const { config, lookup, report } = dependencies
  const offsets = await withAdmin(config.kafka, admin => topicOffsets(admin, settings.topic))
  const rules = readerRules(settings, lookup)
  const recount = new Recount([{ start }], rules, new EventReader(rules))
  const gone: GoneOffsets[] = []
  const ranges = stretches.map(stretch => {
    const { partition, from, to } = stretch
    const { low, high } = offsets[partition] ?? { low: 0, high: 0 }
    const reader = recount.stretch(start, stretch, low)
    if (low > from) gone.push({ partition, from, to: Math.min(low, to) })
    if (high < to && !reader.done) gone.push({ partition, from: Math.max(high, from), to })
    return { partition, from: Math.max(from, low), to: Math.min(to, high), reader }
  })
  const toRead = ranges.filter(({ reader, from, to }) => !reader.done && from < to)
  await countRanges('repair', toRead, settings, dependencies, (read, total) =>
    report({ window: formatInstant(start), records: `${read} of at most ${total}` }),
  )
  return { recount, readers: ranges.map(({ reader }) => reader), gone }
}

/** What the ledger and Postgres know about the window's records, or a sentence why it cannot be repaired. */
async function findSource(
  { settings, start }: RepairInput,
  { db, client }: RecountDependencies,
): Promise<RepairSource | string> {
  if (await isPastRetention(db, start)) return 'Its counts are past RETENTION and were dropped.'
  const result = await findWindowRow(db, start)
  const source = await askLedger(client, settings.group, start)
  if (source?.open)
    return (
      'It is still open, and more records may be announced for it. Run this again once it should have closed ' +
      '("web-traffic status" lists the open windows).'
    )
  if (source) return fromLedger(source, result?.partitions ?? [])
  if (result?.status === 'closed' && result.partitions.length > 0)
    return { stretches: stretchesOf(result.partitions), books: [] }
  if (result?.status === 'published') return 'Its workflow is still correcting it, and will close it.'
  return (
    'Neither the ledger nor Postgres knows where its records are. Either nothing was counted for it, or Postgres has ' +
    'lost its row ("web-traffic recover" restores it).'
  )
}

/** The ledger may know a later end of a stretch, and what an earlier run has applied an earlier start. */
function fromLedger({ partitions, books }: WindowSource, known: AppliedPartition[]): RepairSource {
  const applied = new Map(known.map(partition => [partition.partition, partition]))
  const stretches = partitions.map(({ partition, from, basis, to }): LogStretch => {
    const before = applied.get(partition)
    const begin = before && before.from < from ? before : { from, basis }
    const end = Math.max(to, (before?.last ?? -1) + 1)
    return { partition, from: begin.from, basis: begin.basis, to: end, hitsTo: end }
  })
  return { stretches: stretches.filter(({ from, to }) => from < to), books }
}

/** The stretches that `replay` reads, extended to the last exception. */
export function stretchesOf(partitions: AppliedPartition[]): LogStretch[] {
  return partitions
    .map(applied => {
      const { partition, from, basis, last } = applied
      return { partition, from, basis, to: last + 1, hitsTo: lastCounted(applied) + 1 }
    })
    .filter(({ from, to }) => from < to)
}

/** Null if the ledger is gone or does not know the window. */
export async function askLedger(client: Client, group: string, start: number): Promise<WindowSource | null> {
  try {
    return await client.workflow.getHandle(ingestId(group)).query(windowSource, start)
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return null
    throw error
  }
}

async function informWorkflows(
  { settings: { group }, start }: RepairInput,
  books: ToldBook[],
  { balance }: Repaired,
  client: Client,
): Promise<void> {
  const settlement = { start, books: books.map(({ book }) => book), ...(balance && { balance }) }
  const ledger = client.workflow.getHandle(ingestId(group))
  if (books.length > 0) await ledger.signal(settled, settlement).catch(ignoreNotFound)
  const window = client.workflow.getHandle(windowId(group, start))
  await window.signal(retry).catch(ignoreNotFound)
  // A repeat may have started a run before the repair. The ledger, which has its answer, will not close it.
  await window.signal(closeWindow, []).catch(ignoreNotFound)
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof WorkflowNotFoundError)) throw error
}
