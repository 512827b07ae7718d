import { sql } from 'kysely'
import type { Config } from '../../config'
import { counted } from '../../core/numbers'
import { monthOf, periodEnd } from '../../core/window/periods'
import { clockProblem } from '../clocks'
import { withDatabase } from '../database'
import type { PostgresConfig } from '../../postgres/connection-pool'
import type { Db } from '../../postgres/database'
import { partitionedMonths } from '../../postgres/partitions'
import { unsealedPeriods } from '../../postgres/seal'
import { pendingMigrations } from '../../postgres/migrate'
import { checkOwner, isClaimed } from '../../postgres/owner'
import { temporalConfig } from '../../temporal/connection'
import type { Check, Findings } from './finding'

/** Maintenance rolls an hour up within the next one, ms. */
const MAX_BEHIND = 3 * 3_600_000

export function checkPostgres(config: Config): Check {
  const { postgres, settings } = config
  return findings =>
    withDatabase(config, async db => {
      await checkClock(db, `${postgres.host}:${postgres.port}`, findings)
      await checkEncryption(db, postgres, findings)
      await checkRole(db, postgres, findings)
      const pending = await pendingMigrations(db)
      const schema = `The schema in "${postgres.database}"`
      if (pending.length > 0)
        return findings.fail(`${schema} lacks ${pending.join(', ')}: run "web-traffic migrate".`)
      findings.ok(`${schema} is up to date.`)
      if (!(await isClaimed(db)))
        return findings.ok('The schema has no owner yet: "web-traffic start" records it.')
      const { group, topic } = settings
      await checkOwner(db, { group, topic, namespace: temporalConfig().namespace })
      findings.ok(`The schema belongs to "${group}".`)
      await checkMaintenance(db, findings)
    })
}

/** Without maintenance nothing is lost, but queries over long ranges become slow. */
async function checkMaintenance(db: Db, findings: Findings): Promise<void> {
  const next = periodEnd('month', monthOf(Date.now()))
  const months = await partitionedMonths(db)
  const remedy = 'check in the Temporal Web UI that "web-traffic maintain" runs every hour and succeeds'
  findings.check(
    !months.includes(next),
    `There is no partition for ${new Date(next).toISOString().slice(0, 7)} yet: ${remedy}.`,
    `The tables have partitions for ${counted(months.length, 'month')}, including the next one.`,
  )
  const overdue = (await unsealedPeriods(db, 'hour')).filter(start => start < Date.now() - MAX_BEHIND)
  findings.check(
    overdue.length > 0,
    `Not rolled up: ${counted(overdue.length, 'hour')}, which makes queries over long ranges slow. Please ${remedy}.`,
    'Every hour is rolled up.',
  )
}

async function checkEncryption(
  db: Db,
  { host, port, ssl }: PostgresConfig,
  findings: Findings,
): Promise<void> {
  const { rows } = await sql<{ ssl: boolean }>`
    select ssl from pg_stat_ssl where pid = pg_backend_pid()`.execute(db)
  if (rows[0]?.ssl)
    return findings.check(
      !ssl || ssl.rejectUnauthorized === false,
      "The connection to Postgres is encrypted, but the server's certificate is not checked: use sslmode=verify-full.",
      "The connection to Postgres is encrypted, and the server's certificate is checked.",
    )
  findings.check(
    !isLoopback(host),
    `The connection to Postgres at ${host}:${port} is not encrypted: add sslmode=verify-full to POSTGRES_URL (docs/security.md).`,
    'The connection to Postgres is not encrypted, but stays on this machine.',
  )
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}

/** Only a development cluster's own user should be a superuser. */
async function checkRole(db: Db, { host, user }: PostgresConfig, findings: Findings): Promise<void> {
  const { rows } = await sql<{ superuser: boolean }>`
    select rolsuper as superuser from pg_roles where rolname = current_user`.execute(db)
  const isSuperuser = rows[0]?.superuser === true
  findings.check(
    isSuperuser && !isLoopback(host),
    `User "${user}" is a superuser: give workers the role web_traffic_writer (ddl/roles.sql).`,
    isSuperuser
      ? `User "${user}" is a superuser of a server on this machine.`
      : `User "${user}" is not a superuser.`,
  )
}

async function checkClock(db: Db, address: string, findings: Findings): Promise<void> {
  const asked = Date.now()
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db)
  const ahead = rows[0]!.now.getTime() - (asked + Date.now()) / 2
  const problem = clockProblem(`Postgres at ${address}`, ahead, "this machine's")
  if (problem) findings.warn(problem)
  else findings.ok(`Postgres answers at ${address}, and its clock agrees with this machine's.`)
}
