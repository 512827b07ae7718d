import { groups, GroupCounter, type ColumnarCounts } from '../core/counts/columnar'
import type { CountedStretch } from '../core/window/window-recount'
import type { Transaction } from './database'
import { insertLate } from './late-deltas'
import { addRejected, nameRejected } from './rejected'

interface Window {
  start: number
  end: number
  topic: string
  acceptLoss: boolean
}

/** Replaces the exceptions of a stretch's ranges by those that were found in the stretch. */
export async function repairExceptions(
  transaction: Transaction,
  window: Window,
  stretch: CountedStretch,
): Promise<void> {
  const { start, end, topic } = window
  const { partition, from, exceptions } = stretch
  const replaced = await deleteRanges(transaction, start, stretch)
  const differences = { ...exceptions.rejected }
  for (const { rejected } of replaced)
    for (const [reason, records] of Object.entries(rejected))
      differences[reason] = (differences[reason] ?? 0) - records
  await addRejected(transaction, topic, partition, differences)
  await nameRejected(transaction, topic, exceptions)
  await deleteLate(transaction, start, stretch)
  for (const { windowStart, ...counts } of exceptions.late) {
    const rest = await withoutBroughtIn(transaction, start, stretch, windowStart, counts)
    const late = { partition, from, windowStart, windowSize: end - start, counts: rest, readIn: start }
    await insertLate(transaction, { ...late, cause: 'watermark' })
  }
  await insertStretch(transaction, window, stretch, replaced)
}

type ReplacedRange = Awaited<ReturnType<typeof deleteRanges>>[number]

function deleteRanges(transaction: Transaction, start: number, { partition, to }: CountedStretch) {
  return transaction
    .deleteFrom('exception_ranges')
    .where('window_start', '=', new Date(start))
    .where('kafka_partition', '=', partition)
    .where('range_from', '<', to)
    .returning(['rejected', 'range_to'])
    .execute()
}

async function deleteLate(
  transaction: Transaction,
  start: number,
  { partition, to }: CountedStretch,
): Promise<void> {
  await transaction
    .deleteFrom('late_deltas')
    .where('read_in', '=', new Date(start))
    .where('cause', '=', 'watermark')
    .where('kafka_partition', '=', partition)
    .where('range_from', '<', to)
    .where('brought_in', 'is', null)
    .execute()
}

/** Enters the stretch as one range, so that ranges that begin in it are known as recorded. */
async function insertStretch(
  transaction: Transaction,
  { start, acceptLoss }: Window,
  { partition, from, to, records, exceptions, last: lastFound }: CountedStretch,
  replaced: ReplacedRange[],
): Promise<void> {
  if (records === 0 && replaced.length === 0 && !acceptLoss) return
  const last = acceptLoss ? to - 1 : lastFound
  await transaction
    .insertInto('exception_ranges')
    .values({
      kafka_partition: partition,
      range_from: from,
      range_to: Math.max(last + 1, from, ...replaced.map(({ range_to }) => range_to ?? 0)),
      window_start: new Date(start),
      records,
      rejected: JSON.stringify(exceptions.rejected),
    })
    .execute()
}

/** The counts without late events that a replay has brought into their window's result: these keep their rows. */
async function withoutBroughtIn(
  transaction: Transaction,
  start: number,
  { partition, to }: CountedStretch,
  lateFor: number,
  counts: ColumnarCounts,
): Promise<ColumnarCounts> {
  const broughtIn = await transaction
    .selectFrom('late_deltas')
    .select(['host', 'referrer', 'country', 'num_hits as hits'])
    .where('window_start', '=', new Date(lateFor))
    .where('read_in', '=', new Date(start))
    .where('cause', '=', 'watermark')
    .where('kafka_partition', '=', partition)
    .where('range_from', '<', to)
    .where('brought_in', 'is not', null)
    .execute()
  return broughtIn.length === 0 ? counts : subtract(counts, broughtIn)
}

interface Group {
  host: string
  referrer: string
  country: string
  hits: number
}

/**
 * Subtracts from groups of the same name first, and then from any: after a country database was replaced, a group may
 * have another country.
 */
function subtract(counts: ColumnarCounts, taken: Group[]): ColumnarCounts {
  const key = ({ host, referrer, country }: Group) => JSON.stringify([host, referrer, country])
  const open = new Map<string, number>()
  for (const group of taken) open.set(key(group), (open.get(key(group)) ?? 0) + group.hits)
  const left = [...groups(counts)].map(group => {
    const found = open.get(key(group)) ?? 0
    const subtracted = Math.min(group.hits, found)
    open.set(key(group), found - subtracted)
    return { ...group, hits: group.hits - subtracted }
  })
  let others = [...open.values()].reduce((sum, hits) => sum + hits, 0)
  const rest = new GroupCounter()
  for (const { host, referrer, country, hits } of left) {
    const subtracted = Math.min(hits, others)
    others -= subtracted
    if (hits > subtracted) rest.add(host, referrer, country, hits - subtracted)
  }
  return rest.columns()
}
