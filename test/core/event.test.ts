import { expect, test } from '@jest/globals'
import { MAX_REFERRER_LENGTH, readEvent, type EventRules } from '../../src/core/event/event'
import { MINUTE, T0 } from './support'

const rules: EventRules = { maxFuture: MINUTE, referrer: 'full' }
const now = T0 + 10 * MINUTE
const base = {
  event_time: new Date(T0).toISOString(),
  host: 'a.example',
  referrer: 'https://b.example/x',
  ip: '192.0.2.1',
}
const read = (fields: object, r = rules) => readEvent(JSON.stringify({ ...base, ...fields }), now, r)

test('a valid event keeps its fields', () => {
  expect(read({ unknown: 1, headers: { a: 'b' } })).toEqual({
    eventTime: T0,
    host: 'a.example',
    referrer: 'https://b.example/x',
    ip: '192.0.2.1',
  })
})

test.each<[string | null, string]>([
  [null, 'null_value'],
  ['', 'invalid_json'],
  ['{"host": "a.example"', 'invalid_json'],
  ['1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200', 'invalid_json'],
  ['null', 'not_an_object'],
  ['"text"', 'not_an_object'],
  ['17', 'not_an_object'],
  ['[{"host": "a.example"}]', 'not_an_object'],
  ['{"host": "a.example"}', 'missing_event_time'],
  ['{"host": "a.example", "event_time": null}', 'missing_event_time'],
  ['{"host": "a.example", "event_time": "soon"}', 'invalid_event_time'],
])('%p is rejected as %s', (value, reason) => {
  expect(readEvent(value, now, rules)).toBe(reason)
})

test('an event is in the future if it is more than maxFuture after the timestamp of its record', () => {
  expect(read({ event_time: now + MINUTE })).toMatchObject({ eventTime: now + MINUTE })
  expect(read({ event_time: now + MINUTE + 1 })).toBe('future_event_time')
})

test.each<[unknown, string]>([
  ['WWW.A.Example', 'www.a.example'],
  ['a.example:8080', 'a.example'],
  [' a.example ', 'a.example'],
  ['[2001:DB8::1]:443', '[2001:db8::1]'],
  ['2001:db8::1', '2001:db8::1'],
  ['a\0b', 'a\uFFFDb'],
  ['a\uD800', 'a\uFFFD'],
  ['x'.repeat(255), 'x'.repeat(255)],
])('host %p is counted as %p', (host, expected) => {
  expect(read({ host })).toMatchObject({ host: expected })
})

test('a missing host is taken from the URL; without either, the event is rejected', () => {
  for (const host of [undefined, null, '', ' ', 17])
    expect(read({ host, url: 'https://Shop.Example:8443/x' })).toMatchObject({ host: 'shop.example' })
  expect(read({ host: '', url: '/only/a/path' })).toBe('missing_host')
  expect(read({ host: undefined, url: undefined })).toBe('missing_host')
  expect(read({ host: 'x'.repeat(256) })).toBe('host_too_long')
})

test.each<[unknown, string]>([
  [undefined, ''],
  [null, ''],
  ['-', ''],
  ['', ''],
  [5, ''],
  ['x'.repeat(3_000), 'x'.repeat(MAX_REFERRER_LENGTH)],
  // Truncation here splits a surrogate pair, and Postgres cannot store half of one.
  ['x'.repeat(2_047) + '😀', 'x'.repeat(2_047) + '\uFFFD'],
  ['a\0\uDC00', 'a\uFFFD\uFFFD'],
])('referrer %p is counted as %p', (referrer, expected) => {
  expect(read({ referrer })).toMatchObject({ referrer: expected })
})

test('referrers can be grouped by their origin', () => {
  const origin = (referrer: string) => read({ referrer }, { ...rules, referrer: 'origin' })
  expect(origin('https://b.example:8443/x?y#z')).toMatchObject({ referrer: 'https://b.example:8443' })
  expect(origin('android-app://com.example.app/x')).toMatchObject({
    referrer: 'android-app://com.example.app',
  })
  expect(origin('no url')).toMatchObject({ referrer: 'no url' })
  expect(origin('-')).toMatchObject({ referrer: '' })
})
