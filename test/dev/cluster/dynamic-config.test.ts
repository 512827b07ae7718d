import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from '@jest/globals'
import { UserError } from '../../../src/errors'
import { readDynamicConfig } from '../../../src/dev/cluster/dynamic-config'

const folder = mkdtempSync(join(tmpdir(), 'web-traffic-dynamic-config-'))
const file = join(folder, 'development.yaml')

afterAll(() => rmSync(folder, { recursive: true }))

function read(text: string): unknown {
  writeFileSync(file, text)
  return readDynamicConfig(file)
}

describe("the Temporal server's dynamic configuration", () => {
  it('of the repository allows Updates', () => {
    const own = readDynamicConfig(join(__dirname, '..', '..', '..', 'temporal-config', 'development.yaml'))
    expect(own).toMatchObject({ 'frontend.enableUpdateWorkflowExecution': true })
  })

  it.each([
    ['a: [{ value: true, constraints: {} }]', { a: true }],
    ['a:\n  - value: 200\nb:\n  - value: { c: [1s] }\n    constraints:', { a: 200, b: { c: ['1s'] } }],
    ['# only a comment', {}],
  ])('%s', (text, values) => {
    expect(read(text)).toEqual(values)
  })

  it.each([
    ['a: true', 'a: '],
    ['a: []', 'a'],
    ['a: [{ constraints: {} }]', 'a.0.value'],
    ['a: [{ value: 1, constraint: {} }]', 'constraint'],
    ['a: [{ value: 1, constraints: { namespace: other } }]', 'the development server has no values with'],
    ['a: [{ value: 1 }, { value: 2 }]', 'a: '],
    ['- a', 'the file: '],
    ['a: [', 'is not valid YAML'],
  ])('%s is refused in one line with the file and the position', (text, place) => {
    const attempt = () => read(text)
    expect(attempt).toThrow(UserError)
    expect(attempt).toThrow(place)
    expect(attempt).toThrow(/^[^\n]*development\.yaml[^\n]*$/)
  })
})
