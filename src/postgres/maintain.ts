import { monthOf, PERIODS, periodEnd } from '../core/window/periods'
import type { Db } from './database'
import { createPartitions } from './partitions'
import { dropPastRetention } from './retention'
import { sealPeriod, unsealedPeriods } from './seal'
import { dropStagedRepeats } from './staged-deltas'
import type { Maintained } from '../contract/activities'

/**
 * Creates partitions for this month and the next, rolls up finished periods, and drops what is past retention. It may be
 * repeated, interrupted, and run by several workers at once.
 *
 * @param retention milliseconds; undefined to keep everything
 * @param report receives the number of rolled up periods after each one
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
  if (retention === undefined) return { sealed, months: [], lateHits: 0 }
  return { sealed, ...(await dropPastRetention(db, monthOf(now - retention))) }
}

/** Short periods first: longer ones are rolled up from them. */
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
