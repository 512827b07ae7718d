import { describe, expect, test } from '@jest/globals'
import { GroupCounter, groups, OTHER } from '../../src/core/counts/columnar'
import { GroupTable } from '../../src/core/counts/group-table'
import type { Claimed } from '../../src/core/window/protocol'
import type { LogRecord } from '../../src/core/event/log-record'
import { PartitionReader } from '../../src/core/window/partition-reader'
import { record, rules, T0 } from './support'

const { imul } = Math

/** 32-bit FNV-1a, an unkeyed hash that everyone can compute. */
function fnv1a(text: string, from: number): number {
  let hash = from
  for (let i = 0; i < text.length; i++) hash = imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash
}

/** Two texts that lead from one state of FNV-1a to the same next state. */
function collision(state: number): { texts: [string, string]; next: number } {
  const seen = new Map<number, string>()
  for (let i = 36 ** 3; ; i++) {
    const text = i.toString(36)
    const next = fnv1a(text, state)
    const other = seen.get(next)
    if (other !== undefined) return { texts: [other, text], next }
    seen.set(next, text)
  }
}

/** 2ⁿ texts of one FNV-1a hash: a choice between two at each step (Joux, "Multicollisions in iterated hash functions"). */
function colliding(n: number): string[] {
  let texts = ['']
  let state = 0x811c9dc5 | 0
  for (let i = 0; i < n; i++) {
    const { texts: choice, next } = collision(state)
    texts = texts.flatMap(text => choice.map(more => text + more))
    state = next
  }
  return texts
}

/** The fastest of a few runs, ms. */
function time(run: () => void): number {
  const times = [1, 2, 3, 4, 5].map(() => {
    const began = performance.now()
    run()
    return performance.now() - began
  })
  return Math.min(...times)
}

/** A vulnerable table takes at least fifty times as long. */
const FACTOR = 25

const claimed: Claimed = { partition: 0, epoch: 1, position: 0, basis: null, announcedTo: null }

function read(records: LogRecord[], maxGroups: number) {
  const reader = new PartitionReader(claimed, { ...rules, maxGroups })
  expect(reader.read(records, records.length)).toBe(records.length)
  return reader.cut()!.delta(T0)
}

describe('texts chosen to have the same FNV-1a hash', () => {
  const chosen = colliding(15)
  const others = chosen.map((text, i) => text.slice(0, -5) + String(i).padStart(5, '0'))
  const records = (referrers: string[]) => referrers.map((referrer, i) => record(i, { at: T0, referrer }))

  test('are 32,768 different ones with one hash', () => {
    expect(new Set(chosen).size).toBe(32_768)
    expect(new Set(chosen.map(text => fnv1a(text, 0x811c9dc5 | 0))).size).toBe(1)
    expect(new Set(others).size).toBe(32_768)
  })

  test('are read as fast as other texts', () => {
    // Only ten groups get a name, so one range has room for all.
    const [flood, ordinary] = [records(chosen), records(others)]
    const usual = time(() => read(ordinary, 10))
    expect(time(() => read(flood, 10))).toBeLessThan(usual * FACTOR)
  })

  test('do not get more names than allowed', () => {
    // A reader names one more than the result.
    const delta = read(records(chosen), 9)
    const counted = [...groups(delta)]
    expect(counted.filter(({ referrer }) => referrer !== OTHER)).toHaveLength(10)
    expect(counted.find(({ referrer }) => referrer === OTHER)!.hits).toBe(32_758)
  })
})

describe('groups chosen so that their index hashes collide', () => {
  type Key = [number, number]
  /** The first keys, by host, whose 16-bit hash is low. */
  function crowded(hash: (a: number, b: number) => number): Key[] {
    const keys: Key[] = []
    for (let a = 0; keys.length < 8_192; a++)
      for (let b = 0; b < 8_192; b++) if (hash(a, b) < 32) keys.push([a, b])
    return keys.slice(0, 8_192)
  }
  const ordinary = Array.from({ length: 8_192 }, (_, i): Key => [i >> 7, i & 127])
  const [A, B] = [0x9e3779b1, 0x85ebca77]
  const fold = (mixed: number) => (mixed ^ (mixed >>> 16)) & 0xffff

  const count = (keys: Key[]) => {
    const table = new GroupTable()
    for (const round of [1, 2])
      for (const [a, b] of keys) {
        const row = table.indexOf(a, b, 0)
        if (row < 0) table.append(a, b, 0, round)
        else table.increase(row, round)
      }
    return table
  }

  test.each([
    ['the lower bits', (a: number, b: number) => fold(imul(a, A) ^ imul(b, B))],
    ['the upper bits', (a: number, b: number) => (imul(a, A) + imul(b, B)) >>> 16],
  ])('are found as fast as other groups: %s', (_, hash) => {
    const keys = crowded(hash)
    const usual = time(() => count(ordinary))
    // Usually under a millisecond, so a busy machine alone can cause a factor above ten.
    expect(time(() => count(keys))).toBeLessThan(usual * 4 * FACTOR)
    const counter = new GroupCounter()
    counter.addAll({
      hosts: Array.from({ length: 8_192 }, (_, i) => `h${i}`),
      referrers: Array.from({ length: 8_192 }, (_, i) => `r${i}`),
      countries: ['DE'],
      rows: count(keys).toText(),
    })
    const counted = [...groups(counter.columns())]
    expect(counted.map(({ host, referrer, hits }) => [host, referrer, hits])).toEqual(
      keys.map(([a, b]) => [`h${a}`, `r${b}`, 3]),
    )
  })
})
