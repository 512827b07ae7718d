import { Command } from 'commander'
import { loadConfig } from '../config'
import { runDoctor } from '../pipeline/doctor'
import type { Finding } from '../pipeline/doctor/finding'
import { table } from '../terminal/table'
import { print } from './output'

const LABELS = { ok: 'ok', warning: 'WARNING', failed: 'FAILED' }

export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('check every connection and setting')
    .description(
      'Check every connection and setting, and suggest a fix for each problem. Exits with 1 if a check fails.',
    )
    .option('--json', 'print as JSON')
    .action(async ({ json }: { json?: true }) => {
      const findings = await runDoctor(loadConfig())
      print(findings, json, describe)
      if (findings.some(({ state }) => state === 'failed')) process.exitCode = 1
    })
}

const describe = (findings: Finding[]) =>
  table(
    ['', 'part', 'finding'],
    findings.map(({ part, state, says }) => [LABELS[state], part, says]),
  )
