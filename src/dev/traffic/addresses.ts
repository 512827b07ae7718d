import { Zipf, type Random } from './random'

/**
 * First octets of blocks that the five registries assigned as a whole, so none contains a reserved range. The most
 * frequent come first. By Zipf's law four of ten addresses are then in one country, as in the Apache log of
 * elastic/examples (97 countries, US 39 %).
 */
const IPV4_FIRST_OCTETS = [
  73, 24, 66, 84, 2, 13, 91, 20, 163, 49, 89, 52, 8, 37, 99, 175, 187, 95, 5, 31, 41, 46, 58, 61, 77, 80, 102,
  105, 109, 111, 114, 118, 121, 125, 133, 139, 151, 154, 177, 181, 190, 196, 197, 200, 201, 210, 213, 217,
  220,
]
const IPV4_SKEW = 0.9

/** Prefixes of access providers, /32 or shorter, from all five regions. */
const IPV6_PREFIXES = [
  '2a01:e0a',
  '2003:e4',
  '2a02:8108',
  '2a00:23c5',
  '2a02:a310',
  '2601:280',
  '2600:1700',
  '2607:fea8',
  '2804:14c',
  '2800:810',
  '240e:3a1',
  '2409:4072',
  '240b:10',
  '2001:8003',
  '2c0f:f248',
  '2405:201',
]

const IPV6_SHARE = 0.15
const PRIVATE_SHARE = 0.005

/** Public IPv4 addresses of many countries, some IPv6 addresses, and a few private ones. */
export function clientAddresses(count: number, random: Random): string[] {
  const octets = new Zipf(IPV4_FIRST_OCTETS.length, IPV4_SKEW)
  return Array.from({ length: count }, () => {
    const kind = random.fraction()
    if (kind < PRIVATE_SHARE) return privateAddress(random)
    return kind < PRIVATE_SHARE + IPV6_SHARE ? ipv6(random) : ipv4(octets.rank(random), random)
  })
}

function ipv4(rank: number, random: Random): string {
  const octets = [IPV4_FIRST_OCTETS[rank], random.below(256), random.below(256), 1 + random.below(254)]
  return octets.join('.')
}

function ipv6(random: Random): string {
  const groups = Array.from({ length: 6 }, () => (1 + random.below(0xffff)).toString(16))
  return [random.pick(IPV6_PREFIXES), ...groups].join(':')
}

/** RFC 1918 and RFC 4193. */
function privateAddress(random: Random): string {
  const [b, c, d] = [random.below(256), random.below(256), 1 + random.below(254)]
  return random.pick([
    `10.${b}.${c}.${d}`,
    `192.168.${c}.${d}`,
    `172.${16 + (b & 15)}.${c}.${d}`,
    `fd00::${c}:${d}`,
  ])
}
