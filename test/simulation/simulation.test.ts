import { expect, test } from '@jest/globals'
import { MUTANTS } from './mutants'
import { Simulation } from './simulation'
import { SITUATIONS, type Coverage, type Fault, type Step } from './world'

/** `SEEDS=10000 npx jest test/simulation` tries more; `FIRST=4711 SEEDS=1` repeats one that failed. */
const FIRST = Number(process.env.FIRST ?? 1)
const SEEDS = Number(process.env.SEEDS ?? 3_000)

/** Pollers may crash, sleep or be rebalanced at any of their steps; every call may fail, time out or be repeated. */
const POLLER_STEPS: Step[] = ['claim', 'read', 'awaited', 'flush', 'signal', 'exceptions']
const CALLS: Step[] = [
  'claim',
  'awaited',
  'flush',
  'signal',
  'exceptions',
  'openWindow',
  'stagePiece',
  'writeWindow',
  'recordClosed',
  'recordExceptions',
  'stageDelta',
  'settled',
  'windowSource',
  'repairWindow',
]
const POLLER_FAULTS: Fault[] = ['crash', 'zombie', 'rebalance']
const CALL_FAULTS: Fault[] = ['failed', 'timed out', 'repeated']

const seeds = Array.from({ length: SEEDS }, (_, i) => FIRST + i)

test(`no crash, rebalance, zombie, or failed, lost or repeated call changes a count, in ${SEEDS} seeds`, () => {
  const coverage: Coverage = new Map()
  for (const seed of seeds) {
    try {
      new Simulation(seed, coverage).run()
    } catch (error) {
      throw new Error(`seed ${seed} (FIRST=${seed} SEEDS=1 repeats it)`, { cause: error })
    }
  }
  const expected = [
    ...POLLER_STEPS.flatMap(step => POLLER_FAULTS.map(fault => `${fault} at ${step}` as const)),
    ...CALLS.flatMap(step => CALL_FAULTS.map(fault => `${fault} at ${step}` as const)),
    ...SITUATIONS,
  ]
  const met = expected.map(key => `${key}: ${coverage.get(key) ?? 0}`)
  console.log(
    `how often each fault hit each step, and each situation occurred, in ${SEEDS} seeds\n${met.join('\n')}`,
  )
  // A step without faults would be a hole in this test; a few seeds cannot cover them all.
  if (SEEDS >= 1_000) expect(expected.filter(key => !coverage.has(key))).toEqual([])
}, 600_000)

test.each(MUTANTS)(
  'the simulation notices: %s',
  mutant => {
    const noticed = Array.from({ length: 1_000 }, (_, i) => i + 1).find(seed => {
      try {
        new Simulation(seed, new Map(), mutant).run()
        return false
      } catch {
        return true
      }
    })
    expect(noticed).toBeDefined()
  },
  120_000,
)
