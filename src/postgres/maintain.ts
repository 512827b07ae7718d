import { monthOf, PERIODS, periodEnd } from '../core/window/periods'
import type { Db } from './database'
import { createPartitions } from './partitions'
import { dropPastRetention } from './retention'
import { sealPeriod, unsealedPeriods } from './seal'
import { dropStagedRepeats } from './staged-deltas'
import type { Maintained } from '../contract/activities'

/**
 * What the tables need from time to time: partitions for this month and the next, the totals of periods that are over,
 * and that what is past retention goes. May be repeated, be given up on half-way, and run beside another.
 *
 * @param retention milliseconds; undefined for ever
 * @param report is told what was done so far
 */
export async function maintain(
  db: Db,
  { now, retention }: { now: number; retention: number | undefined },
  report: (progress: object) => void,
): Promise<Maintained> {
  const month = monthOf(now)
  for (const start of [month, periodEnd('month', month)]) await createPartitions(db, start)
  const sealed = await sealAll(db, report)
  await dropStagedRepeats(db)
  const before = retention === undefined ? undefined : monthOf(now - retention)
  const dropped = before === undefined ? { months: [], lateHits: 0 } : await dropPastRetention(db, before)
  return { sealed, ...dropped }
}

/** Short periods first: the longer ones are made of them. */
export async function sealAll(db: Db, report: (progress: object) => void): Promise<Maintained['sealed']> {
  const sealed = { month: 0, day: 0, hour: 0 }
  for (const period of [...PERIODS].reverse())
    for (const start of await unsealedPeriods(db, period)) {
      await sealPeriod(db, period, start)
      sealed[period]++
      report(sealed)
    }
  return sealed
}
