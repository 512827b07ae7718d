import { Command } from 'commander'
import { loadConfig } from '../config'
import { checkGeo } from '../pipeline/doctor/geo'
import { checkKafka } from '../pipeline/doctor/kafka'
import { checkLog } from '../pipeline/doctor/log'
import { checkPostgres } from '../pipeline/doctor/postgres'
import { runCheck, type Finding } from '../pipeline/doctor/finding'
import { checkTemporal } from '../pipeline/doctor/temporal'
import { table } from '../terminal/table'

const SHOWN = { ok: 'ok', warning: 'WARNING', failed: 'FAILED' }

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('checks every connection and setting before it hurts; exits with 1 where one fails')
    .option('--json', 'print as JSON')
    .action(async ({ json }: { json?: true }) => {
      const config = loadConfig()
      // Each for itself: what is wrong with one says nothing of the others.
      const groups = await Promise.all([
        runCheck('Kafka', checkKafka(config)),
        runCheck('log', checkLog(config)),
        runCheck('Postgres', checkPostgres(config)),
        runCheck('Temporal', checkTemporal(config)),
        runCheck('countries', checkGeo(config)),
      ])
      const findings = groups.flat()
      console.log(json ? JSON.stringify(findings, null, 2) : describe(findings))
      if (findings.some(({ state }) => state === 'failed')) process.exitCode = 1
    })
}

function describe(findings: Finding[]): string {
  return table(
    ['', 'part', 'finding'],
    findings.map(({ part, state, says }) => [SHOWN[state], part, says]),
  )
}
