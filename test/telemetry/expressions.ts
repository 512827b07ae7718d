import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { packageRoot } from '../../src/package-root'

const DOCKER = join(packageRoot(), 'docker')

export interface AlertRule {
  alert: string
  expr: string
  annotations: Record<string, string>
}

export function alertRules(): AlertRule[] {
  const text = readFileSync(join(DOCKER, 'prometheus', 'alerts.yml'), 'utf8')
  const { groups } = parse(text) as { groups: { rules: AlertRule[] }[] }
  return groups.flatMap(({ rules }) => rules)
}

export interface Panel {
  title: string
  type: string
  description?: string
  targets?: { expr: string; refId: string }[]
}

export interface Dashboard {
  uid: string
  title: string
  panels: Panel[]
  templating: { list: { name: string; query: string | { query: string } }[] }
}

export function dashboards(): Dashboard[] {
  const folder = join(DOCKER, 'grafana', 'dashboards')
  return readdirSync(folder).map(file => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Dashboard)
}

/** The series in an expression with their labels, without functions, ranges and offsets. */
export function selectors(expr: string): string[] {
  return [...new Set(expr.match(/\b(?:web_traffic_\w+|temporal_\w+|up)\b(?:\{[^}]*\})?/g))]
}
