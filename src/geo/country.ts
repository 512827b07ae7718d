import { BlockList, isIPv6 } from 'node:net'
import { open, validate, type CountryResponse, type Reader } from 'maxmind'
import { UNKNOWN_COUNTRY } from '../core/counts/unknown-country'
import { messageOf, UserError } from '../errors'

/** Returns the ISO 3166-1 alpha-2 code of an IPv4 or IPv6 address; `??` if it is unknown, private or not an address. */
export type LocateCountry = (ip: string) => string

/** Special-purpose networks (IANA registries, RFC 6890). They belong to no country, even if a database names one. */
const RESERVED_NETWORKS =
  '0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 ' +
  '192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3 ' +
  '::/96 100::/64 2001:db8::/32 3fff::/20 fc00::/7 fe80::/10 ff00::/8'

const reserved = new BlockList()
for (const network of RESERVED_NETWORKS.split(' ')) {
  const [address, prefix] = network.split('/') as [string, string]
  reserved.addSubnet(address, Number(prefix), familyOf(address))
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4'
}

/** Turns `::ffff:8.8.8.8`, also written `::ffff:808:808`, into 8.8.8.8 (RFC 4291, 2.5.5.2). */
function withoutMapping(ip: string): string {
  const mapped = /^(?:0{0,4}:){2,5}ffff:(?:([\d.]+)|([\da-f]{1,4}):([\da-f]{1,4}))$/i.exec(ip)
  if (!mapped) return ip
  const [, dotted, high = '', low = ''] = mapped
  if (dotted?.includes('.')) return dotted
  return [high, low].flatMap(hex => [parseInt(hex, 16) >> 8, parseInt(hex, 16) & 255]).join('.')
}

/** The address in the form to look up; undefined if it is private, reserved or not an address. */
export function publicAddress(ip: string): string | undefined {
  if (!validate(ip)) return undefined
  const address = withoutMapping(ip)
  return reserved.check(address, familyOf(address)) ? undefined : address
}

/** `country_code` is a field of the bundled CC0 database; MaxMind's databases have a nested one. */
type CountryRecord = CountryResponse & { country_code?: string }

/** Opens a MaxMind-format country or city database, by default the bundled one. */
export async function openCountryDatabase(file?: string): Promise<LocateCountry> {
  const reader = await openReader(file)
  return ip => {
    const address = publicAddress(ip)
    if (address === undefined) return UNKNOWN_COUNTRY
    const found = reader.get(address)
    return found?.country_code ?? found?.country?.iso_code ?? UNKNOWN_COUNTRY
  }
}

export async function countryDatabaseAge(file?: string): Promise<number> {
  const { metadata } = await openReader(file)
  return Date.now() - metadata.buildEpoch.getTime()
}

async function openReader(file?: string): Promise<Reader<CountryRecord>> {
  const path =
    file ?? require.resolve('@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb')
  try {
    return await open<CountryRecord>(path)
  } catch (error) {
    throw new UserError(`GEO_DATABASE: ${path} cannot be read as a MaxMind database (${messageOf(error)}).`)
  }
}
