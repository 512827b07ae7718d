import { spawnSync } from 'node:child_process'
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'

const ROOT = join(__dirname, '..', '..')
const DOCUMENTS = ['docs/commands.md', 'docs/configuration.md', 'docs/relations.md', 'stream.env.example']

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'web-traffic-docs-'))
  for (const document of DOCUMENTS) {
    mkdirSync(dirname(join(folder, document)), { recursive: true })
    cpSync(join(ROOT, document), join(folder, document))
  }
})

afterEach(() => rmSync(folder, { recursive: true }))

function npmRun(script: string) {
  const { status, stdout, stderr } = spawnSync('npm', ['run', '--silent', script, '--', folder], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

test('the reference documents are up to date', () => {
  expect(npmRun('docs:check')).toEqual({ status: 0, stdout: '', stderr: '' })
})

test('a stale line fails the check with one line that names the file, and `npm run docs` removes it', () => {
  const plant = (document: string) => appendFileSync(join(folder, document), '# A stale line.\n')
  const [first, ...others] = DOCUMENTS
  plant(first!)
  const stale = (names: string) => ({
    status: 1,
    stdout: '',
    stderr: `Stale: ${names}. Run "npm run docs".\n`,
  })
  expect(npmRun('docs:check')).toEqual(stale(first!))
  others.forEach(plant)
  expect(npmRun('docs:check')).toEqual(stale(DOCUMENTS.join(', ')))
  expect(npmRun('docs').status).toBe(0)
  for (const document of DOCUMENTS)
    expect(readFileSync(join(folder, document), 'utf8')).toBe(readFileSync(join(ROOT, document), 'utf8'))
})
