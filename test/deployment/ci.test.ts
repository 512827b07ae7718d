import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { ROOT } from './compose-file'

interface Job {
  strategy?: { matrix: { node: number[] } }
  steps: { uses?: string; run?: string }[]
}

const text = (...path: string[]) => readFileSync(join(ROOT, ...path), 'utf8')
const { jobs } = parse(text('.github', 'workflows', 'ci.yml')) as { jobs: Record<string, Job> }
const commands = Object.values(jobs).flatMap(({ steps }) => steps.flatMap(({ run }) => run ?? []))

test('contributions are tested on every supported Node release', () => {
  expect(jobs.test!.strategy!.matrix.node).toEqual([20, 22, 24, 26])
  const { engines } = JSON.parse(text('package.json')) as { engines: { node: string } }
  expect(engines.node).toMatch(/^>=20\./)
  expect(jobs.test!.steps.map(({ run }) => run)).toContain('make test')
})

test('CI runs commands that exist', () => {
  const targets = [...text('Makefile').matchAll(/^([a-z-]+):/gm)].map(([, target]) => target)
  const wanted = commands.flatMap(command => /^make (\S+)$/.exec(command)?.[1] ?? [])
  expect(wanted).toEqual(['lint', 'test'])
  for (const target of wanted) expect(targets).toContain(target)
  expect(commands.filter(command => command.startsWith('docker compose build'))).toHaveLength(1)
  expect(commands.filter(command => command.startsWith('npm audit'))).toHaveLength(2)
})
