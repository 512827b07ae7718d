import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { Checkpoints, type Checkpoint } from '../../src/core/window/checkpoints'
import { T0 } from './support'

const W = (n: number) => T0 + n * 300_000
const at = (...positions: number[]): Checkpoint['places'] =>
  Object.fromEntries(positions.map((position, partition) => [partition, [position, T0 + position]]))

const carriedOver = (checkpoints: Checkpoints, maxPlaces?: number) =>
  new Checkpoints(
    JSON.parse(JSON.stringify(checkpoints.snapshot())) as ReturnType<Checkpoints['snapshot']>,
    maxPlaces,
  )

test('a window keeps the positions at its opening when more is announced for it', () => {
  let checkpoints = new Checkpoints({})
  checkpoints.open([W(0)], () => at(5, 7))
  checkpoints.open([W(0), W(1)], () => at(20, 30))
  checkpoints = carriedOver(checkpoints)
  checkpoints.open([W(2)], () => at(40, 30))
  expect([0, 1, 2].map(n => checkpoints.of(W(n)))).toEqual([at(5, 7), at(20, 30), at(40, 30)])
  expect(checkpoints.of(W(3))).toBeUndefined()
})

test('windows that open at the same positions share a checkpoint; positions are computed only if a window opens', () => {
  const checkpoints = new Checkpoints({})
  checkpoints.open([W(0)], () => at(5, 7))
  checkpoints.open([W(1), W(2)], () => at(5, 7))
  checkpoints.open([W(1)], () => {
    throw new Error('not needed')
  })
  expect(checkpoints.snapshot().checkpoints).toHaveLength(1)
})

test('a checkpoint is dropped once no window needs it', () => {
  const checkpoints = new Checkpoints({})
  checkpoints.open([W(0), W(1)], () => at(0, 0))
  checkpoints.open([W(2)], () => at(1, 1))
  checkpoints.drop(W(0))
  expect(checkpoints.of(W(0))).toBeUndefined()
  expect(checkpoints.of(W(1))).toEqual(at(0, 0))
  checkpoints.drop(W(1))
  checkpoints.drop(W(1))
  expect(checkpoints.snapshot().checkpoints.map(({ places }) => places)).toEqual([at(1, 1)])
  checkpoints.drop(W(2))
  expect(checkpoints.snapshot()).toEqual({ checkpoints: [], checkpointOf: [] })
})

test('beyond the bound a window uses an older checkpoint; once there is room, the next window gets a new one', () => {
  // Two partitions: three checkpoints.
  const checkpoints = new Checkpoints({}, 7)
  for (let n = 0; n < 5; n++) checkpoints.open([W(n)], () => at(n, n))
  expect([0, 1, 2, 3, 4].map(n => checkpoints.of(W(n)))).toEqual([
    at(0, 0),
    at(1, 1),
    at(2, 2),
    at(2, 2),
    at(2, 2),
  ])
  checkpoints.drop(W(0))
  checkpoints.open([W(5)], () => at(9, 9))
  expect(checkpoints.of(W(5))).toEqual(at(9, 9))
})

test('one checkpoint is kept regardless of the number of partitions', () => {
  const checkpoints = new Checkpoints({}, 3)
  checkpoints.open([W(0)], () => at(1, 2, 3, 4, 5))
  checkpoints.open([W(1)], () => at(6, 7, 8, 9, 10))
  expect(checkpoints.of(W(1))).toEqual(at(1, 2, 3, 4, 5))
})

test('in any order of opening and settling, the positions of a window are not beyond those at its opening, and the bound holds', () => {
  const PARTITIONS = 3
  const step = fc.record({
    opens: fc.array(fc.nat(12), { maxLength: 3 }),
    settles: fc.option(fc.nat(12)),
    moves: fc.array(fc.nat(2), { minLength: PARTITIONS, maxLength: PARTITIONS }),
    continues: fc.boolean(),
  })
  const property = fc.property(
    fc.array(step, { maxLength: 40 }),
    fc.integer({ min: 3, max: 20 }),
    (all, max) => {
      let checkpoints = new Checkpoints({}, max)
      const opened = new Map<number, number[]>()
      const positions = new Array<number>(PARTITIONS).fill(0)
      for (const { opens, settles, moves, continues } of all) {
        moves.forEach((by, partition) => (positions[partition]! += by))
        checkpoints.open(opens.map(W), () => at(...positions))
        for (const n of opens) if (!opened.has(n)) opened.set(n, [...positions])
        if (settles !== null) {
          checkpoints.drop(W(settles))
          opened.delete(settles)
        }
        if (continues) checkpoints = carriedOver(checkpoints, max)
        for (const [n, known] of opened) {
          const places = checkpoints.of(W(n))!
          known.forEach((position, partition) => expect(places[partition]![0]).toBeLessThanOrEqual(position))
        }
        const { checkpoints: kept, checkpointOf } = checkpoints.snapshot()
        expect(kept.length * PARTITIONS).toBeLessThanOrEqual(max)
        expect(new Set(checkpointOf.map(([, id]) => id))).toEqual(new Set(kept.map(({ id }) => id)))
        expect(checkpointOf).toHaveLength(opened.size)
      }
    },
  )
  fc.assert(property, { numRuns: 150 })
})
