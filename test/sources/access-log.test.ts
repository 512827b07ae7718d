import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, expect, it } from '@jest/globals'
import { type LoggedEvent, type Site, parseAccessLogLine } from '../../src/sources/access-log'
import { lines } from '../../src/sources/lines'
import { accessLogSource } from '../../src/sources/source'
import type { TrafficRecord } from '../../src/sources/record'

const SITE: Site = { host: 'www.example.com', scheme: 'https' }
const REAL_LOG = join(__dirname, '../../../shared/data/apache_logs')

const line = (
  fields: Partial<Record<'ip' | 'user' | 'time' | 'request' | 'referrer' | 'agent' | 'more', string>>,
) => {
  const { ip = '203.0.113.9', user = '-', time = '17/May/2015:10:05:03 +0000', more = '' } = fields
  const { request = 'GET /a?b=c HTTP/1.1', referrer = 'https://www.google.com/', agent = 'curl/8.0' } = fields
  return `${ip} - ${user} [${time}] "${request}" 200 1234 "${referrer}" "${agent}"${more}`
}

describe('a line of a combined access log', () => {
  it('becomes an event', () => {
    expect(parseAccessLogLine(line({}), SITE)).toEqual({
      url: 'https://www.example.com/a?b=c',
      referrer: 'https://www.google.com/',
      user_agent: 'curl/8.0',
      host: 'www.example.com',
      ip: '203.0.113.9',
      headers: {},
      event_time: '2015-05-17T10:05:03+00:00',
    })
  })

  it.each([
    ['17/May/2015:10:05:03 +0200', '2015-05-17T10:05:03+02:00', '2015-05-17T08:05:03.000Z'],
    ['31/Dec/2024:23:59:59 -0930', '2024-12-31T23:59:59-09:30', '2025-01-01T09:29:59.000Z'],
    ['29/Feb/2024:00:00:00 +0000', '2024-02-29T00:00:00+00:00', '2024-02-29T00:00:00.000Z'],
  ])('keeps the offset of %s', (time, expected, instant) => {
    const event = parseAccessLogLine(line({ time }), SITE)
    expect(event?.event_time).toBe(expected)
    expect(new Date(event!.event_time).toISOString()).toBe(instant)
  })

  it('decodes the escapes of Apache and nginx', () => {
    const agent = String.raw`say \"hi\" C:\\x41 a\tb`
    expect(parseAccessLogLine(line({ agent }), SITE)?.user_agent).toBe('say "hi" C:\\x41 a\tb')
    expect(parseAccessLogLine(line({ agent: String.raw`\x22caf\xC3\xA9\x22` }), SITE)?.user_agent).toBe(
      '"café"',
    )
  })

  it('accepts an IPv6 address, a user name with a space, and more fields at the end', () => {
    const event = parseAccessLogLine(
      line({ ip: '2001:db8::7', user: 'jo doe', more: ' "10.0.0.1" 0.042' }),
      SITE,
    )
    expect(event?.ip).toBe('2001:db8::7')
  })

  it('keeps - for a missing referrer or user agent', () => {
    const event = parseAccessLogLine(line({ referrer: '-', agent: '-' }).replace(' 1234 ', ' - '), SITE)
    expect(event).toMatchObject({ referrer: '-', user_agent: '-' })
  })

  it.each([
    ['-', 'https://www.example.com/'],
    [String.raw`\x16\x03\x01`, 'https://www.example.com/'],
    ['OPTIONS * HTTP/1.0', 'https://www.example.com/'],
    ['GET http://other.example/x HTTP/1.1', 'http://other.example/x'],
  ])('turns the request %s into the URL %s', (request, url) => {
    expect(parseAccessLogLine(line({ request }), SITE)?.url).toBe(url)
  })

  it.each([
    ['nothing', ''],
    ['no quotes', '203.0.113.9 - - [17/May/2015:10:05:03 +0000] GET / 200 1'],
    ['an unterminated user agent', line({}).slice(0, -1)],
    ['a day that does not exist', line({ time: '30/Feb/2015:10:05:03 +0000' })],
    ['a month that does not exist', line({ time: '17/Mai/2015:10:05:03 +0000' })],
    ['an hour that does not exist', line({ time: '17/May/2015:24:05:03 +0000' })],
  ])('is malformed with %s', (_, text) => {
    expect(parseAccessLogLine(text, SITE)).toBeUndefined()
  })
})

describe('the lines of a stream', () => {
  const split = async (...chunks: string[]) => {
    const found: string[] = []
    const stream = Readable.from(chunks.map(chunk => Buffer.from(chunk, 'latin1'))) as AsyncIterable<Buffer>
    for await (const bytes of lines(stream)) found.push(bytes.toString('latin1'))
    return found
  }

  it('do not depend on the chunks', async () => {
    expect(await split('a\nb', 'c', 'd\n', '\ne')).toEqual(['a', 'bcd', '', 'e'])
    expect(await split('a\r\nb\r', '\nc\r\n')).toEqual(['a', 'b', 'c'])
    expect(await split()).toEqual([])
  })

  it('keep bytes that are not UTF-8', async () => {
    expect(await split('caf\xe9\n')).toEqual(['caf\xe9'])
  })
})

const withRealLog = existsSync(REAL_LOG) ? describe : describe.skip

withRealLog('a real log of 10,000 lines (skipped if ../shared/data/apache_logs is missing)', () => {
  it('has 9,999 events from 1,753 addresses, and sends line 8899 unchanged', async () => {
    const source = await accessLogSource(REAL_LOG, SITE)
    const records: TrafficRecord[] = []
    for await (const record of source.records(1)) records.push(record)
    expect(records).toHaveLength(10_000)

    const malformed = records.flatMap((record, index) => (record.malformed ? [index] : []))
    expect(malformed).toEqual([8898])
    const original = readFileSync(REAL_LOG, 'latin1').split('\n')[8898]
    expect((records[8898]!.value as Buffer).toString('latin1')).toBe(original)

    const events = records
      .filter(record => !record.malformed)
      .map(record => JSON.parse(record.value as string) as LoggedEvent)
    expect(new Set(events.map(event => event.ip)).size).toBe(1_753)
    expect(events.filter(event => event.referrer === '-')).toHaveLength(4_072)
    const windows = events.map(event => Math.floor(Date.parse(event.event_time) / 300_000))
    expect(new Set(windows).size).toBe(84)
  })
})
