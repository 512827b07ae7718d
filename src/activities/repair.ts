import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import type { Config } from '../config'
import { EventReader } from '../core/event/event-reader'
import type { WindowSource } from '../core/window/ledger'
import type { AppliedPartition, ToldBook } from '../core/window/protocol'
import { ingestId, windowId } from '../contract/ids'
import { lastCounted } from '../core/window/recount'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/window/tumbling-window'
import { WindowRecount, type LogStretch, type StretchRecount } from '../core/window/window-recount'
import type { Lookup } from '../geo/lookup'
import { topicOffsets, withAdmin } from '../kafka/client'
import { readRanges, type LogRange } from '../kafka/range-reader'
import { balanceOf } from '../postgres/books'
import type { Db } from '../postgres/database'
import { isPastRetention } from '../postgres/closed-windows'
import { repairWindow as publish } from '../postgres/repair-window'
import { findWindowRow } from '../postgres/window-row'
import { retry, settled, windowSource } from '../contract/messages'
import { hashKey } from './hash-key'
import { resolveAddresses } from './recount'
import type { GoneOffsets, Repaired, RepairInput, RepairOutcome } from '../contract/activities'

export interface RepairDependencies {
  config: Pick<Config, 'kafka'>
  db: Db
  client: Client
  lookup: Lookup
  signal: AbortSignal
  /** Of the heartbeat. */
  report: (progress: object) => void
}

/** Where the log has a window's records, and what the window was told. */
export interface RepairSource {
  stretches: LogStretch[]
  books: ToldBook[]
}

/**
 * Counts a window again from the log and publishes it, whether or not a run of it is left; then tells its run, if one
 * waits for that, and the ledger. A repeat changes nothing.
 */
export async function repairWindow(input: RepairInput, outside: RepairDependencies): Promise<RepairOutcome> {
  const source = await sourceOf(input, outside)
  if (typeof source === 'string') return { outcome: 'refused', reason: source }
  const repaired = await repairFrom(source, input, outside)
  if (repaired.outcome === 'repaired' || repaired.outcome === 'unchanged')
    await tell(input, source.books, repaired, outside.client)
  return repaired
}

/** Counts the stretches of a window and publishes the result. */
export async function repairFrom(
  { stretches, books }: RepairSource,
  { settings, start, acceptLoss }: RepairInput,
  outside: RepairDependencies,
): Promise<RepairOutcome> {
  const { recount, readers, gone } = await countAgain(stretches, { settings, start }, outside)
  if (gone.length > 0 && !acceptLoss && (await hasNoBooks(outside.db, start, books)))
    return { outcome: 'refused', reason: GONE }
  const published = await publish(outside.db, {
    start,
    end: start + settings.windowSize,
    topic: settings.topic,
    counter: recount.counter,
    stretches: withLost => readers.map(reader => reader.counted(withLost)),
    books,
    acceptLoss,
  })
  return { ...published, gone }
}

const GONE =
  'Kafka no longer has all of its records, and since it was opened under a release without books nobody knows how many ' +
  'they were. With --accept-loss what is left is published.'

async function hasNoBooks(db: Db, start: number, books: ToldBook[]): Promise<boolean> {
  return books.every(book => !('hits' in book)) && (await balanceOf(db, start)) === undefined
}

async function countAgain(
  stretches: LogStretch[],
  { settings, start }: { settings: PipelineSettings; start: number },
  { config: { kafka }, lookup, signal, report }: RepairDependencies,
): Promise<{ recount: WindowRecount; readers: StretchRecount[]; gone: GoneOffsets[] }> {
  const { topic, group } = settings
  const offsets = await withAdmin(kafka, admin => topicOffsets(admin, topic))
  const { locate, service } = lookup
  const rules = { ...settings, locate, hashKey }
  const recount = new WindowRecount(start, rules, new EventReader(rules))
  const readers: StretchRecount[] = []
  const ranges: (LogRange & { reader: StretchRecount })[] = []
  const gone: GoneOffsets[] = []
  for (const stretch of stretches) {
    const { partition, from, to } = stretch
    const { low, high } = offsets[partition] ?? { low: 0, high: 0 }
    const reader = recount.stretch(stretch, low)
    readers.push(reader)
    if (low > from) gone.push({ partition, from, to: Math.min(low, to) })
    if (reader.done) continue
    if (high < to) gone.push({ partition, from: Math.max(high, from), to })
    const range = { partition, from: Math.max(from, low), to: Math.min(to, high), reader }
    if (range.from < range.to) ranges.push(range)
  }
  const all = ranges.reduce((sum, { from, to }) => sum + to - from, 0)
  let read = 0
  await readRanges(ranges, {
    kafka,
    topic,
    group: `${group}-repair`,
    signal,
    ...(service && { prepare: records => resolveAddresses(service, records, signal) }),
    onRecords: ({ reader }, records, next) => {
      const before = reader.position
      const isEnough = reader.read(records, next)
      read += reader.position - before
      report({ window: formatInstant(start), records: `${read} of at most ${all}` })
      return isEnough
    },
  })
  return { recount, readers, gone }
}

/** What the ledger and Postgres know of where the window's records are; a sentence where that does not suffice. */
async function sourceOf(
  { settings, start }: RepairInput,
  { db, client }: RepairDependencies,
): Promise<RepairSource | string> {
  if (await isPastRetention(db, start)) return 'Its counts are past RETENTION and were dropped.'
  const known = await findWindowRow(db, start)
  const source = await askLedger(client, settings.group, start)
  if (source?.open)
    return (
      'It is still open: more may be announced for it. Run this again once it should have closed ' +
      '("web-traffic status" says which windows are open).'
    )
  const closed = known?.status === 'closed' ? known.partitions : []
  if (source) return fromLedger(source, known?.partitions ?? [])
  if (closed.length > 0) return { stretches: stretchesOf(closed), books: [] }
  if (known?.status === 'published') return 'Its workflow still takes corrections, and closes it by itself.'
  return (
    'Neither the ledger nor Postgres knows where its records are: nothing was counted for it, or Postgres has lost its ' +
    'row since ("web-traffic recover" brings that back).'
  )
}

/** What the ledger knows goes further, and what an earlier run has applied may begin sooner. */
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

/** As `replay` reads them, and on to the last exception. */
export function stretchesOf(partitions: AppliedPartition[]): LogStretch[] {
  return partitions
    .map(applied => {
      const { partition, from, basis, last } = applied
      return { partition, from, basis, to: last + 1, hitsTo: lastCounted(applied) + 1 }
    })
    .filter(({ from, to }) => from < to)
}

/** Null where the ledger does not know the window. */
export async function askLedger(client: Client, group: string, start: number): Promise<WindowSource | null> {
  try {
    return await client.workflow.getHandle(ingestId(group)).query(windowSource, start)
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return null
    throw error
  }
}

async function tell(
  { settings: { group }, start }: RepairInput,
  books: ToldBook[],
  { balance }: Repaired,
  client: Client,
): Promise<void> {
  const settlement = { start, books: books.map(({ book }) => book), ...(balance && { balance }) }
  if (books.length > 0)
    await unlessGone(() => client.workflow.getHandle(ingestId(group)).signal(settled, settlement))
  await unlessGone(() => client.workflow.getHandle(windowId(group, start)).signal(retry))
}

async function unlessGone(signal: () => Promise<void>): Promise<void> {
  try {
    await signal()
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error
  }
}
