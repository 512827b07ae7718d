import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, expect, test } from '@jest/globals'
import type { SeedResult } from '../../../trials/chaos/run-seed'

const program = join(__dirname, '..', '..', '..', 'dist', 'trials', 'chaos', 'main.js')

let chaos: ChildProcess | undefined
// It stops its servers and workers before it ends.
afterEach(() => void chaos?.kill('SIGTERM'))

test('after two short seeds every count is exact, and the pipeline has recovered from every fault', async () => {
  const args = [program, '--seeds', '2', '--short', '--json']
  chaos = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = once(chaos, 'exit') as Promise<[number | null]>
  const [output, log] = await Promise.all([text(chaos.stdout!), text(chaos.stderr!)])
  const [code] = await exited
  expect({ code, log }).toEqual({ code: 0, log: expect.not.stringContaining('WRONG') as unknown })
  const { seeds } = JSON.parse(output) as { seeds: SeedResult[] }
  expect(seeds).toHaveLength(2)
  for (const { problems, records, hits, late, closed, rejected, faults } of seeds) {
    expect(problems).toEqual([])
    expect(hits + late + rejected).toBe(records)
    // The attack proves something only if there were hits, late and rejected events.
    expect(Math.min(hits, late - closed, rejected)).toBeGreaterThan(0)
    expect(faults.length).toBeGreaterThanOrEqual(3)
    for (const { recoveredAfterEnd } of faults) expect(recoveredAfterEnd).not.toBeNull()
  }
}, 600_000)
