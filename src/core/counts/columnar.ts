import { ABSENT, Dictionary, jsonBytes, type GroupPolicy } from './dictionary'
import { GroupTable } from './group-table'
import { countNumbers, NumberReader } from './row-text'
import type { Interners } from './string-interning'

/**
 * Counts by host, referrer and country, as they travel through Temporal: each distinct string once, then four
 * integers a group, as text (see `row-text.ts`): indexes into `hosts`, `referrers` and `countries`, and the
 * count.
 */
export interface ColumnarCounts {
  hosts: string[]
  referrers: string[]
  countries: string[]
  rows: string
}

export interface GroupCount {
  host: string
  referrer: string
  country: string
  hits: number
}

/** A row at the most: three indexes below 2²⁰, as a message has room for no more texts, and a count below 2⁵³. */
const ROW_BYTES = 4 + 4 + 4 + 11

/** Names the groups that are counted together because a window has too many. */
export const OTHER = '(other)'

/** So many hosts keep their name even where their referrers no longer do. */
const MAX_OTHER_GROUPS = 1_000

/** A group by the numbers that a {@link Interners} has given to its parts. */
export interface NumberedGroup {
  host: number
  referrer: number
  country: number
}

/** Counts groups; dictionaries keep a group's cost at a few numbers, however long its strings are. */
export class GroupCounter {
  private readonly hosts = new Dictionary()
  private readonly referrers = new Dictionary()
  private readonly countries = new Dictionary()
  private readonly table = new GroupTable()
  private others = 0
  /** Of the numbers that the dictionaries have learned. */
  private generation = 0
  hits = 0

  /** @param names asked about every group that is new; one that it refuses is counted under {@link OTHER} */
  constructor(private readonly names?: GroupPolicy) {}

  add(host: string, referrer: string, country: string, hits = 1): void {
    this.hits += hits
    const a = this.hosts.numberOf(host)
    const b = this.referrers.numberOf(referrer)
    const c = this.countries.numberOf(country)
    const row = this.table.indexOf(a, b, c)
    if (row >= 0) this.table.increase(row, hits)
    else if (this.keepsName(host, referrer, country)) this.addNamed(host, referrer, country, hits)
    else this.addOther(host, country, hits)
  }

  private keepsName(host: string, referrer: string, country: string): boolean {
    const { names, hosts, referrers, countries } = this
    if (!names) return true
    return names.admits(
      hosts.hash(host, names),
      referrers.hash(referrer, names),
      countries.hash(country, names),
    )
  }

  /** Adds a hit without a look at the group's texts, where they have come before. */
  count({ host, referrer, country }: NumberedGroup, words: Interners): void {
    if (this.generation !== words.generation) this.unlearn(words.generation)
    const a = this.hosts.findNumber(host)
    const b = this.referrers.findNumber(referrer)
    const c = this.countries.findNumber(country)
    if (a >= 0 && b >= 0 && c >= 0) {
      this.addIndexed(a, b, c, 1)
      return
    }
    this.add(words.hosts.text(host), words.referrers.text(referrer), words.countries.text(country))
    this.hosts.learn(host, words.hosts)
    this.referrers.learn(referrer, words.referrers)
    this.countries.learn(country, words.countries)
  }

  private unlearn(generation: number): void {
    this.generation = generation
    for (const dictionary of [this.hosts, this.referrers, this.countries]) dictionary.unlearn()
  }

  /** The parts of the group have these indexes; the group may be new. */
  private addIndexed(a: number, b: number, c: number, hits: number): void {
    this.hits += hits
    const { hosts, referrers, countries, table, names } = this
    const row = table.indexOf(a, b, c)
    if (row >= 0) table.increase(row, hits)
    else if (
      !names ||
      names.admits(hosts.hashAt(a, names), referrers.hashAt(b, names), countries.hashAt(c, names))
    )
      table.append(a, b, c, hits)
    else this.addOther(hosts.text(a), countries.text(c), hits)
  }

  private addNamed(host: string, referrer: string, country: string, hits: number): void {
    const a = this.hosts.index(host)
    const b = this.referrers.index(referrer)
    const c = this.countries.index(country)
    const row = this.table.indexOf(a, b, c)
    if (row >= 0) this.table.increase(row, hits)
    else this.table.append(a, b, c, hits)
  }

  /** The host keeps its name while there are few such; there are only so many countries. */
  private addOther(host: string, country: string, hits: number): void {
    const known = this.table.indexOf(
      this.hosts.numberOf(host),
      this.referrers.numberOf(OTHER),
      this.countries.numberOf(country),
    )
    const named = known >= 0 || this.others < MAX_OTHER_GROUPS
    const before = this.groups
    this.addNamed(named ? host : OTHER, OTHER, country, hits)
    if (this.groups > before) this.others++
  }

  addAll({ hosts, referrers, countries, rows }: ColumnarCounts): void {
    const ownHosts = this.hosts.translate(hosts)
    const ownReferrers = this.referrers.translate(referrers)
    const ownCountries = this.countries.translate(countries)
    for (const reader = new NumberReader(rows); !reader.done;) {
      const host = reader.next()
      const referrer = reader.next()
      const country = reader.next()
      const hits = reader.next()
      const a = ownHosts[host]!
      const b = ownReferrers[referrer]!
      const c = ownCountries[country]!
      if (a !== ABSENT && b !== ABSENT && c !== ABSENT) {
        this.addIndexed(a, b, c, hits)
      } else {
        this.add(hosts[host]!, referrers[referrer]!, countries[country]!, hits)
        ownHosts[host] = this.hosts.numberOf(hosts[host]!)
        ownReferrers[referrer] = this.referrers.numberOf(referrers[referrer]!)
        ownCountries[country] = this.countries.numberOf(countries[country]!)
      }
    }
  }

  get groups(): number {
    return this.table.size
  }

  /** Whether a group lost its name: which one depends on the order in which they came. */
  get folded(): boolean {
    return this.others > 0
  }

  /** Upper bound of the JSON text of {@link columns} in bytes, kept as groups are added. */
  get encodedBytes(): number {
    return this.hosts.bytes + this.referrers.bytes + this.countries.bytes + this.groups * ROW_BYTES + 64
  }

  columns(): ColumnarCounts {
    return {
      hosts: this.hosts.strings(),
      referrers: this.referrers.strings(),
      countries: this.countries.strings(),
      rows: this.table.toText(),
    }
  }
}

/** Upper bound of the JSON text of columnar counts in bytes. */
export function encodedBytes({ hosts, referrers, countries, rows }: ColumnarCounts): number {
  let bytes = rows.length + 64
  for (const texts of [hosts, referrers, countries]) for (const text of texts) bytes += jsonBytes(text)
  return bytes
}

/** How many groups columnar counts have. */
export function groupsOf({ rows }: ColumnarCounts): number {
  return countNumbers(rows) / 4
}

export function hitsOf(counts: ColumnarCounts): number {
  let hits = 0
  for (const group of groups(counts)) hits += group.hits
  return hits
}

/** Hits of one country. */
export function hitsOfCountry({ countries, rows }: ColumnarCounts, country: string): number {
  if (!countries.includes(country)) return 0
  let sum = 0
  for (const reader = new NumberReader(rows); !reader.done;) {
    reader.next()
    reader.next()
    const isWanted = countries[reader.next()] === country
    const hits = reader.next()
    if (isWanted) sum += hits
  }
  return sum
}

/** The same counts by host and referrer: all countries are one, the empty text. */
export function withoutCountries(counts: ColumnarCounts): ColumnarCounts {
  const counter = new GroupCounter()
  counter.addAll({ ...counts, countries: counts.countries.map(() => '') })
  return counter.columns()
}

/** The groups of columnar counts, one by one. */
export function* groups({ hosts, referrers, countries, rows }: ColumnarCounts): Generator<GroupCount> {
  for (const reader = new NumberReader(rows); !reader.done;) {
    yield {
      host: hosts[reader.next()]!,
      referrer: referrers[reader.next()]!,
      country: countries[reader.next()]!,
      hits: reader.next(),
    }
  }
}
