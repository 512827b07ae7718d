import { sql } from 'kysely'
import { GroupCounter, type ColumnarCounts, type GroupCount } from '../core/counts/columnar'
import type { CountedStretch } from '../core/window/recount'
import { inBatches } from './cursor'
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

interface ReplacedRange {
  rejected: Record<string, number>
  range_to: number | null
}

async function deleteRanges(
  transaction: Transaction,
  start: number,
  { partition, to }: CountedStretch,
): Promise<ReplacedRange[]> {
  const { rows } = await sql<ReplacedRange>`
    delete from exception_ranges
    where window_start = ${new Date(start)} and kafka_partition = ${partition} and range_from < ${to}
    returning rejected, range_to`.execute(transaction)
  return rows
}

/** The late events of a stretch by the watermark, in SQL. */
const lateOf = (start: number, { partition, to }: CountedStretch) => sql`
  read_in = ${new Date(start)} and cause = 'watermark' and kafka_partition = ${partition} and range_from < ${to}`

async function deleteLate(transaction: Transaction, start: number, stretch: CountedStretch): Promise<void> {
  await sql`
    delete from late_deltas where ${lateOf(start, stretch)} and brought_in is null`.execute(transaction)
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
  const rangeTo = Math.max(last + 1, from, ...replaced.map(({ range_to }) => range_to ?? 0))
  await sql`
    insert into exception_ranges (kafka_partition, range_from, range_to, window_start, records, rejected)
    values (${partition}, ${from}, ${rangeTo}, ${new Date(start)}, ${records},
      ${JSON.stringify(exceptions.rejected)})`.execute(transaction)
}

/**
 * The counts without late events that a replay has brought into their window's result: these keep their rows. They are
 * subtracted from groups of the same name first, and then from any: after a country database was replaced, a group may
 * have another country.
 */
async function withoutBroughtIn(
  transaction: Transaction,
  start: number,
  stretch: CountedStretch,
  lateFor: number,
  counts: ColumnarCounts,
): Promise<Iterable<GroupCount>> {
  const counter = new GroupCounter()
  counter.addAll(counts)
  const left = Float64Array.from(counter.all(), ({ hits }) => hits)
  let others = 0
  const broughtIn = sql<GroupCount>`
    select host, referrer, country, num_hits as hits from late_deltas
    where window_start = ${new Date(lateFor)} and ${lateOf(start, stretch)} and brought_in is not null`
  for await (const rows of inBatches(transaction, broughtIn))
    for (const { host, referrer, country, hits } of rows) {
      const row = counter.rowOf(host, referrer, country)
      const subtracted = row < 0 ? 0 : Math.min(left[row]!, hits)
      if (row >= 0) left[row]! -= subtracted
      others += hits - subtracted
    }
  return rest(counter, left, others)
}

/** The groups that have hits left, after more are subtracted from the first ones. */
function* rest(counter: GroupCounter, left: Float64Array, others: number): Generator<GroupCount> {
  let open = others
  for (let row = 0; row < counter.groups; row++) {
    const subtracted = Math.min(left[row]!, open)
    open -= subtracted
    const hits = left[row]! - subtracted
    if (hits > 0) yield { ...counter.group(row), hits }
  }
}
