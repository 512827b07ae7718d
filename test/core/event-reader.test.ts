import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ByteCache } from '../../src/core/counts/byte-cache'
import { GroupCounter, groups } from '../../src/core/counts/columnar'
import { readEvent, type RejectionReason } from '../../src/core/event/event'
import { EventReader, type LocatedEvent } from '../../src/core/event/event-reader'
import { EventScanner } from '../../src/core/event/event-scanner'
import { hashKey, MINUTE, T0 } from './support'

const rules = { hashKey, maxFuture: MINUTE, referrer: 'full' as const, locate: (ip: string) => `<${ip}>` }
const NOW = T0 + 10 * MINUTE

/** The event as `JSON.parse` reads it. */
function expected(value: Uint8Array) {
  const event = readEvent(Buffer.from(value).toString(), NOW, rules)
  if (typeof event === 'string') return event
  const { eventTime, host, referrer, ip } = event
  return { eventTime, host, referrer, country: rules.locate(ip) }
}

function inWords(read: LocatedEvent | RejectionReason, { interners }: EventReader) {
  if (typeof read === 'string') return read
  const { eventTime, host, referrer, country } = read
  return {
    eventTime,
    host: interners.hosts.text(host),
    referrer: interners.referrers.text(referrer),
    country: interners.countries.text(country),
  }
}

const text = fc.oneof(
  { weight: 4, arbitrary: fc.string({ maxLength: 12 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
  fc.constantFrom(
    'a.example',
    'A.Example:80',
    '-',
    '',
    ' x ',
    '[::1]:80',
    'x'.repeat(256),
    'ä'.repeat(2_049),
  ),
)
const time = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.integer({ min: -1e12, max: NOW + 2 * MINUTE }).map(at => new Date(at).toISOString()),
  },
  {
    weight: 2,
    arbitrary: fc
      .integer({ min: -1, max: 99_999 })
      .map(i => new Date(T0 + i * 1_000).toISOString().replace('.000', '')),
  },
  { weight: 2, arbitrary: fc.integer({ min: -10, max: 2 * NOW }) },
  fc.double(),
  fc.maxSafeInteger(),
  fc.constantFrom(
    '2026-02-29T00:00:00Z',
    '2026-01-01T24:00:00Z',
    '0075-01-01T00:00:00Z',
    '2026-01-01 12:00:00',
    1e21,
    null,
  ),
)
const anything = fc.jsonValue({ maxDepth: 3 })
const field = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(fc.constant('event_time'), time) },
  { weight: 5, arbitrary: fc.tuple(fc.constantFrom('host', 'referrer', 'ip', 'url'), text) },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constantFrom('event_time', 'host', 'referrer', 'ip', 'url'), anything),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.oneof(fc.string(), fc.constantFrom('hos', 'hostt', 'Host', '__proto__')),
      anything,
    ),
  },
)
const space = fc.oneof(
  { weight: 100, arbitrary: fc.constantFrom('', '', '', ' ', '\n', '\t\r ') },
  // White space elsewhere, but not in JSON.
  fc.constantFrom('\u00a0', '\f'),
)

/** A JSON object, often with the fields of an event, with duplicate names and white space. */
const object = fc
  .tuple(fc.array(field, { maxLength: 9 }), fc.infiniteStream(space), fc.boolean())
  .map(([fields, blanks, whole]) => {
    const blank = () => blanks.next().value as string
    const usual: [string, unknown][] = [
      ['event_time', new Date(T0).toISOString()],
      ['host', 'a.example'],
    ]
    const members = (whole ? [...usual, ...fields] : fields).map(
      ([name, value]) =>
        `${blank()}${JSON.stringify(name)}${blank()}:${blank()}${JSON.stringify(value)}${blank()}`,
    )
    return `${blank()}{${members.join(',') || blank()}}${blank()}`
  })

/** Bytes to remove and insert. */
const slips = fc.array(
  fc.record({ at: fc.nat(300), remove: fc.nat(2), insert: fc.uint8Array({ maxLength: 2 }) }),
  { maxLength: 2 },
)
const mangled = fc.tuple(object, slips).map(([json, changes]) => {
  let bytes = Buffer.from(json)
  for (const { at, remove, insert } of changes) {
    const place = at % (bytes.length + 1)
    bytes = Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + remove)])
  }
  return bytes
})

test('valid and damaged records are read as JSON.parse reads them', () => {
  const reader = new EventReader(rules)
  const scanner = new EventScanner([])
  let plain = 0
  let strange = 0
  fc.assert(
    fc.property(
      fc.oneof(
        object.map(json => Buffer.from(json)),
        mangled,
      ),
      value => {
        if (scanner.scan(value)) plain++
        else strange++
        expect(inWords(reader.read(value, NOW), reader)).toEqual(expected(value))
      },
    ),
    { numRuns: 20_000 },
  )
  // Both paths were exercised.
  expect(plain).toBeGreaterThan(2_000)
  expect(strange).toBeGreaterThan(2_000)
})

test('everything that the scanner accepts is JSON', () => {
  const scanner = new EventScanner(['a'])
  const near = fc.string({ unit: fc.constantFrom(...'{}[]:,"a\\ -+.eE019tfnurlse\n\0\u001f'), maxLength: 12 })
  const json = fc.oneof(
    near,
    near.map(inner => `{"a":${inner}}`),
    near.map(inner => `{"a":[${inner}]}`),
  )
  let taken = 0
  fc.assert(
    fc.property(json, text => {
      const bytes = Buffer.from(text)
      if (!scanner.scan(bytes)) return
      taken++
      const value = (JSON.parse(text) as { a?: unknown }).a
      const { kind, from, to } = scanner.fields[0]!
      const found = bytes.subarray(from, to).toString()
      expect(kind === 'absent' ? undefined : kind === 'text' ? found : JSON.parse(found)).toEqual(value)
    }),
    { numRuns: 50_000 },
  )
  expect(taken).toBeGreaterThan(500)
})

test.each([
  '{"a":01}',
  '{"a":1.}',
  '{"a":.5}',
  '{"a":-}',
  '{"a":1e}',
  '{"a":+1}',
  '{"a":tru}',
  '{"a":nul1}',
  '{"a":1,}',
  '{"a" 1}',
  '{a:1}',
  '{"a":1}}',
  '{"a":[1,]}',
  '{"a":"\n"}',
  '{"a":"x}',
  '{,}',
  '{"a":1 "b":2}',
  '',
])('the scanner declines %p', text => {
  expect(() => JSON.parse(text) as unknown).toThrow()
  expect(new EventScanner(['a']).scan(Buffer.from(text))).toBe(false)
})

test('the scanner accepts only objects', () => {
  for (const text of ['[]', '1', '"a"', 'null'])
    expect(new EventScanner([]).scan(Buffer.from(text))).toBe(false)
})

test('deep nesting does not exhaust the stack', () => {
  const deep = (depth: number) => Buffer.from(`{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`)
  const scanner = new EventScanner(['a'])
  expect([1, 31, 100, 1_000_000].map(depth => scanner.scan(deep(depth)))).toEqual([true, true, false, false])
})

test('a cache returns what its function returns, however often it is cleared', () => {
  const made = new Map<string, number>()
  const cache = new ByteCache(text => {
    made.set(text, (made.get(text) ?? 0) + 1)
    return text.toUpperCase()
  }, hashKey)
  const ask = (text: string) => {
    if (cache.full) cache.clear()
    const bytes = Buffer.from(`__${text}__`)
    if (cache.get(bytes, 2, bytes.length - 2) !== text.toUpperCase()) throw new Error(`wrong for ${text}`)
  }
  for (const text of ['', 'a', 'ab', 'ü', '\ufeffx']) for (let i = 0; i < 3; i++) ask(text)
  expect([...made.values()]).toEqual([1, 1, 1, 1, 1])
  for (let i = 0; i < 200_000; i++) ask(`text-${i % 90_000}`)
  ask('a')
  // Repeated texts stay cached, however many there were before.
  const before = made.get('text-7')
  for (let i = 0; i < 100; i++) ask('text-7')
  expect(made.get('text-7')! - before!).toBeLessThanOrEqual(1)
  // More bytes of keys than the cache has room for.
  for (let i = 0; i < 100; i++) ask(`${i}${'x'.repeat(100_000)}`)
})

test('groups are counted by their texts even if there are more texts than the interners hold', () => {
  const reader = new EventReader(rules)
  const counter = new GroupCounter()
  const expected = new Map<string, number>()
  const event_time = new Date(T0).toISOString()
  for (let i = 0; i < 150_000; i++) {
    // One that is always there, and others that come once, or again after a clear.
    const referrer = i % 2 === 0 ? 'https://often.example/' : `https://r-${i % 75_001}.example/`
    const ip = String(i % 7)
    const event = reader.read(Buffer.from(JSON.stringify({ event_time, host: 'a', referrer, ip })), NOW)
    if (typeof event === 'string') throw new Error(event)
    counter.count(event, reader.interners)
    const key = `${referrer} <${ip}>`
    expected.set(key, (expected.get(key) ?? 0) + 1)
  }
  expect(reader.interners.generation).toBeGreaterThan(0)
  const counted = new Map<string, number>()
  for (const { referrer, country, hits } of groups(counter.columns()))
    counted.set(`${referrer} ${country}`, hits)
  expect(counted).toEqual(expected)
  expect(counter.hits).toBe(150_000)
})
