import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { packageRoot } from '../../src/package-root'
import { findPrometheus } from '../support/prometheus'
import { alertRules } from './expressions'

const FOLDER = join(packageRoot(), 'docker', 'prometheus')

const found = findPrometheus()
if ('reason' in found) console.warn(`The alert rules are not tested: ${found.reason}.`)
const withPrometheus = 'reason' in found ? test.skip : test

function promtool(...args: string[]): string {
  if ('reason' in found) throw new Error(found.reason)
  return execFileSync(found.promtool, args, { cwd: FOLDER, encoding: 'utf8', stdio: 'pipe' })
}

withPrometheus('Prometheus accepts the configuration and the rules', () => {
  expect(promtool('check', 'config', 'prometheus.yml')).toContain(
    `SUCCESS: ${alertRules().length} rules found`,
  )
})

withPrometheus('each alert fires when it should and only then', () => {
  expect(promtool('test', 'rules', 'alerts.test.yml')).toContain('SUCCESS')
})

interface RuleTests {
  tests: { alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[]
}

test('each alert has a test in which it fires and one in which it does not', () => {
  const { tests } = parse(readFileSync(join(FOLDER, 'alerts.test.yml'), 'utf8')) as RuleTests
  const cases = tests.flatMap(({ alert_rule_test }) => alert_rule_test)
  for (const { alert } of alertRules()) {
    const fires = cases
      .filter(({ alertname }) => alertname === alert)
      .map(({ exp_alerts }) => exp_alerts.length > 0)
    expect({ alert, fires: fires.includes(true), silent: fires.includes(false) }).toEqual({
      alert,
      fires: true,
      silent: true,
    })
  }
})

test('each alert links to its section of the runbook', () => {
  const runbook = readFileSync(join(packageRoot(), 'docs', 'operations.md'), 'utf8')
  const anchors = [...runbook.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!.toLowerCase().replaceAll(' ', '-'),
  )
  for (const { alert, annotations } of alertRules()) {
    expect(annotations.runbook_url).toBe(`docs/operations.md#${alert.toLowerCase()}`)
    expect(anchors).toContain(alert.toLowerCase())
  }
})
