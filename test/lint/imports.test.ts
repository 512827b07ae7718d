import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'

const ROOT = join(__dirname, '..', '..')

/** A small tree that keeps every rule. */
const CLEAN: Record<string, string> = {
  'src/core/count.ts': 'export const count = 1',
  'src/contract/messages.ts': `import { count } from '../core/count'\nexport const message = count`,
  'src/workflows/window.ts': `import { message } from '../contract/messages'\nexport const window = message`,
  'src/kafka/reader.ts': `import { count } from '../core/count'\nexport const reader = count`,
  'src/postgres/writer.ts': `import { count } from '../core/count'\nexport const writer = count`,
  'src/activities/write.ts': `import { writer } from '../postgres/writer'\nexport const write = writer`,
  'src/dev/demo.ts': `import { reader } from '../kafka/reader'\nexport const demo = reader`,
  'src/cli/main.ts': `export const main = async () => (await import('../dev/demo')).demo`,
  'trials/bench.ts': `import { write } from '../src/activities/write'\nexport const bench = write`,
}

/** For each rule of .dependency-cruiser.cjs a file that breaks it. */
const VIOLATIONS: [rule: string, file: string, text: string][] = [
  ['circle', 'src/core/circle.ts', `import { other } from './other'\nexport const circle = () => other`],
  ['core-upwards', 'src/core/upwards.ts', `export { reader } from '../kafka/reader'`],
  ['kafka-sideways', 'src/kafka/sideways.ts', `export { writer } from '../postgres/writer'`],
  ['core-is-pure', 'src/core/impure.ts', `export { readFileSync } from 'node:fs'`],
  ['contract', 'src/contract/more.ts', `export { readFileSync } from 'node:fs'`],
  ['workflows-are-replayed', 'src/workflows/activity.ts', `export { write } from '../activities/write'`],
  ['dev-by-need', 'src/cli/static.ts', `export { demo } from '../dev/demo'`],
  ['trials-from-product', 'src/cli/trial.ts', `export { bench } from '../../trials/bench'`],
  ['unresolvable', 'src/kafka/unresolvable.ts', `export { nothing } from './nothing'`],
]
const CIRCLE_BACK = {
  'src/core/other.ts': `import { circle } from './circle'\nexport const other = () => circle`,
}

interface Violation {
  from: string
  rule: { name: string }
}

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'web-traffic-imports-'))
  for (const file of ['.dependency-cruiser.cjs', 'tsconfig.json'])
    cpSync(join(ROOT, file), join(folder, file))
  plant(CLEAN)
})

afterAll(() => rmSync(folder, { recursive: true }))

function plant(files: Record<string, string>): void {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    writeFileSync(join(folder, file), `${text}\n`)
  }
}

function cruise(): Violation[] {
  const program = join(ROOT, 'node_modules', 'dependency-cruiser', 'bin', 'dependency-cruise.mjs')
  const { stdout } = spawnSync(process.execPath, [program, 'src', 'trials', '--output-type', 'json'], {
    cwd: folder,
    encoding: 'utf8',
  })
  return (JSON.parse(stdout) as { summary: { violations: Violation[] } }).summary.violations
}

test('a tree that keeps the rules passes', () => {
  expect(cruise()).toEqual([])
})

describe('a file that breaks a rule fails by the name of the rule', () => {
  let found: Violation[]

  beforeAll(() => {
    plant({ ...Object.fromEntries(VIOLATIONS.map(([, file, text]) => [file, text])), ...CIRCLE_BACK })
    found = cruise()
  })

  test.each(VIOLATIONS)('%s: %s', (rule, file) => {
    const rules = found.filter(({ from }) => from === file).map(({ rule }) => rule.name)
    expect(rules).toContain(rule)
  })

  test('and no other file does', () => {
    const broken = new Set(found.map(({ from }) => from))
    expect([...broken].sort()).toEqual(VIOLATIONS.map(([, file]) => file).sort())
  })
})
