import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { UserError } from '../../src/errors'
import { UNKNOWN_COUNTRY } from '../../src/core/counts/unknown-country'
import { openCountryDatabase, type LocateCountry } from '../../src/geo/country'

describe('the bundled database', () => {
  let locate: LocateCountry

  beforeAll(async () => {
    locate = await openCountryDatabase()
  })

  // From the regional registries; these holders have had their networks for decades.
  test.each([
    ['8.8.8.8', 'US', 'ARIN: Google'],
    ['192.0.43.7', 'US', 'ARIN: ICANN'],
    ['193.0.6.139', 'NL', 'RIPE NCC itself'],
    ['130.149.7.201', 'DE', 'RIPE NCC: TU Berlin'],
    ['193.99.144.80', 'DE', 'RIPE NCC: heise'],
    ['129.132.19.216', 'CH', 'RIPE NCC: ETH Zürich'],
    ['202.12.29.175', 'AU', 'APNIC itself'],
    ['133.11.0.1', 'JP', 'JPNIC: University of Tokyo'],
    ['200.3.14.10', 'UY', 'LACNIC itself'],
    ['200.160.2.3', 'BR', 'NIC.br'],
    ['2001:4860:4860::8888', 'US', 'ARIN: Google'],
    ['2001:67c:2e8:22::c100:68b', 'NL', 'RIPE NCC itself'],
    ['2003::1', 'DE', 'RIPE NCC: Deutsche Telekom'],
    ['2001:dc0:2001:11::211', 'AU', 'APNIC itself'],
    ['2001:12ff::1', 'BR', 'NIC.br'],
  ])('finds %s in %s (%s)', (ip, country) => {
    expect(locate(ip)).toBe(country)
  })

  test('finds every notation of an IPv6 address', () => {
    for (const ip of [
      '2001:4860:4860::8888',
      '2001:4860:4860:0:0:0:0:8888',
      '2001:4860:4860:0000::0000:8888',
    ])
      expect(locate(ip)).toBe('US')
    expect(locate('2001:67C:2E8:22::C100:68B')).toBe('NL')
  })

  test('answers every address with two letters or ??', () => {
    for (let i = 0; i < 20_000; i++) {
      const bits = Math.imul(i, 2_654_435_761) >>> 0
      const ip = [24, 16, 8, 0].map(shift => (bits >>> shift) & 255).join('.')
      expect(locate(ip)).toMatch(/^([A-Z]{2}|\?\?)$/)
    }
  })

  test.each([
    '10.0.0.1',
    '127.0.0.1',
    '169.254.1.1',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'fe80::1',
    'fc00::1',
    'fd12:3456::1',
    'ff02::1',
  ])('knows no country for the reserved address %s', ip => {
    expect(locate(ip)).toBe(UNKNOWN_COUNTRY)
  })

  // RFC 1918, and the blocks for documentation (RFC 5737, RFC 3849).
  test.each(['172.16.0.1', '192.168.1.1', '198.51.100.1', '203.0.113.1', '2001:db8::1'])(
    'knows no country for %s, even if the database does',
    ip => {
      expect(locate(ip)).toBe(UNKNOWN_COUNTRY)
    },
  )

  test.each(['::ffff:8.8.8.8', '::ffff:808:808'])('finds %s, an IPv4 address in IPv6 form', ip => {
    expect(locate(ip)).toBe('US')
  })

  test.each([
    '',
    ' ',
    '-',
    'unknown',
    'example.com',
    '8.8.8',
    '8.8.8.256',
    '08.8.8.8',
    '0x8.8.8.8',
    '134744072',
    '8.8.8.8:80',
    '8.8.8.8, 1.1.1.1',
    '8.8.8.8\n',
    '[2001:4860:4860::8888]',
    '2001:4860:4860:::8888',
    '1:2:3:4:5:6:7:8:9',
    '\0',
    '\u{1F600}',
    '8'.repeat(100_000),
  ])('knows no country for %j, which is not an address', ip => {
    expect(locate(ip)).toBe(UNKNOWN_COUNTRY)
  })
})

describe('GEO_DATABASE', () => {
  let folder: string

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'web-traffic-geo-'))
    writeFileSync(join(folder, 'empty.mmdb'), '')
    writeFileSync(join(folder, 'text.mmdb'), 'not a database\n'.repeat(1_000))
    writeFileSync(join(folder, 'zeros.mmdb'), Buffer.alloc(100_000))
  })

  afterAll(() => {
    rmSync(folder, { recursive: true })
  })

  test('can name another database', async () => {
    const path = require.resolve('@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb')
    expect((await openCountryDatabase(path))('193.0.6.139')).toBe('NL')
  })

  test.each(['missing.mmdb', 'empty.mmdb', 'text.mmdb', 'zeros.mmdb', '.'])(
    'naming %s is refused in one line',
    async name => {
      const path = join(folder, name)
      const error: unknown = await openCountryDatabase(path).catch((e: unknown) => e)
      expect(error).toBeInstanceOf(UserError)
      const { message } = error as Error
      expect(message).not.toContain('\n')
      expect(message).toContain(`GEO_DATABASE: ${path} `)
    },
  )
})
