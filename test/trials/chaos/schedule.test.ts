import { expect, test } from '@jest/globals'
import { KINDS, schedule } from '../../../trials/chaos/faults'

const kindsOf = (seeds: number[], short: boolean) =>
  new Set(seeds.flatMap(seed => schedule(seed, short).map(({ kind }) => kind)))

test('a schedule is a function of its seed', () => {
  for (const short of [true, false]) {
    expect(schedule(7, short)).toEqual(schedule(7, short))
    expect(schedule(8, short)).not.toEqual(schedule(7, short))
  }
})

test('three consecutive long seeds cover every kind of fault', () => {
  for (const first of [1, 2, 3, 17])
    expect(kindsOf([first, first + 1, first + 2], false)).toEqual(new Set(Object.keys(KINDS)))
})

test('two consecutive short seeds cover a zombie, a rebalance, and killing all workers and each server', () => {
  for (const first of [1, 2])
    expect(kindsOf([first, first + 1], true)).toEqual(
      new Set([
        'killAllInFlush',
        'zombieInFlush',
        'addWorker',
        'cutConnections',
        'killKafka',
        'killTemporal',
        'killPostgres',
      ]),
    )
})
