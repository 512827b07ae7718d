import { sql } from 'kysely'
import type { Config } from '../config'
import { formatDuration } from '../core/duration'
import { withDatabase } from '../cli/database'
import type { Db } from '../postgres/database'
import { pendingMigrations } from '../postgres/migrate'
import { checkOwner, isClaimed } from '../postgres/owner'
import { temporalConfig } from '../temporal'
import type { Check, Findings } from './finding'

/** Clocks that differ by more are not kept by any time service, ms. */
const SKEW = 2_000

export function checkPostgres(config: Config): Check {
  const { postgres, settings } = config
  return findings =>
    withDatabase(config, async db => {
      await checkClock(db, `${postgres.host}:${postgres.port}`, findings)
      const pending = await pendingMigrations(db)
      if (pending.length > 0)
        return findings.fail(
          `The schema in "${postgres.database}" lacks ${pending.join(', ')}: run "web-traffic migrate".`,
        )
      findings.ok(`The schema in "${postgres.database}" is up to date.`)
      if (!(await isClaimed(db)))
        return findings.ok('The schema belongs to no pipeline yet: "web-traffic start" records its owner.')
      const { group, topic } = settings
      await checkOwner(db, { group, topic, namespace: temporalConfig().namespace })
      findings.ok(`The schema belongs to "${group}".`)
    })
}

async function checkClock(db: Db, where: string, findings: Findings): Promise<void> {
  const asked = Date.now()
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db)
  const skew = Math.round(Math.abs(rows[0]!.now.getTime() - (asked + Date.now()) / 2))
  findings.check(
    skew > SKEW,
    `The clock of Postgres at ${where} and the one here differ by ${formatDuration(skew)}: have both set by NTP.`,
    `Postgres answers at ${where}, by the same clock.`,
  )
}
