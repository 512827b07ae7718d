import { sql } from 'kysely'
import type { Config } from '../../config'
import { formatDuration } from '../../core/duration'
import { monthOf, periodEnd } from '../../core/window/periods'
import { withDatabase } from '../database'
import type { Db, PostgresConfig } from '../../postgres/database'
import { partitionedMonths } from '../../postgres/partitions'
import { unsealedPeriods } from '../../postgres/seal'
import { pendingMigrations } from '../../postgres/migrate'
import { checkOwner, isClaimed } from '../../postgres/owner'
import { temporalConfig } from '../../temporal/connection'
import type { Check, Findings } from './finding'

/** An hour is added up by the next run after it, ms. */
const BEHIND = 3 * 3_600_000

/** Clocks that differ by more are not kept by any time service, ms. */
const SKEW = 2_000

export function checkPostgres(config: Config): Check {
  const { postgres, settings } = config
  return findings =>
    withDatabase(config, async db => {
      await checkClock(db, `${postgres.host}:${postgres.port}`, findings)
      await checkEncryption(db, postgres, findings)
      await checkRole(db, postgres, findings)
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
      await checkMaintained(db, findings)
    })
}

/** What "web-traffic maintain" leaves behind; nothing is lost without it, but questions over long ranges become slow. */
async function checkMaintained(db: Db, findings: Findings): Promise<void> {
  const next = periodEnd('month', monthOf(Date.now()))
  const months = await partitionedMonths(db)
  const remedy = 'is "web-traffic maintain" run every hour, and does it succeed? The Temporal Web UI says so'
  findings.check(
    !months.includes(next),
    `There is no partition for ${new Date(next).toISOString().slice(0, 7)} yet: ${remedy}.`,
    `The tables have partitions ahead, and ${months.length} in all.`,
  )
  const old = (await unsealedPeriods(db, 'hour')).filter(start => start < Date.now() - BEHIND)
  findings.check(
    old.length > 0,
    `${old.length} hours are not added up, so that long ranges are slow to look at: ${remedy}.`,
    'Every hour is added up.',
  )
}

/** What a connection that is not encrypted carries, everybody on its way can read; on this machine there is nobody. */
async function checkEncryption(
  db: Db,
  { host, port, ssl }: PostgresConfig,
  findings: Findings,
): Promise<void> {
  const { rows } = await sql<{
    ssl: boolean
  }>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`.execute(db)
  if (rows[0]?.ssl) {
    const looked = ssl && ssl.rejectUnauthorized !== false
    return findings.check(
      !looked,
      `The connection to Postgres is encrypted, and nobody looks at whose certificate it is: use sslmode=verify-full.`,
      'The connection to Postgres is encrypted, and its certificate is looked at.',
    )
  }
  findings.check(
    !isLoopback(host),
    `The connection to Postgres at ${host}:${port} is not encrypted: add sslmode=verify-full to POSTGRES_URL (docs/security.md).`,
    'The connection to Postgres is not encrypted, and does not leave this machine.',
  )
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}

/** A development cluster's own user is a superuser; nobody else's should be. */
async function checkRole(db: Db, { host, user }: PostgresConfig, findings: Findings): Promise<void> {
  const { rows } = await sql<{ superuser: boolean }>`
    select rolsuper as superuser from pg_roles where rolname = current_user`.execute(db)
  findings.check(
    rows[0]?.superuser === true && !isLoopback(host),
    `User "${user}" may do anything on the whole server: give workers the role web_traffic_writer (ddl/roles.sql).`,
    rows[0]?.superuser
      ? `User "${user}" is a superuser, of a server on this machine.`
      : `User "${user}" is no superuser.`,
  )
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
