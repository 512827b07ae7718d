import { ABSENT, Dictionary, jsonBytes, type GroupPolicy } from './dictionary'
import { GroupTable } from './group-table'
import { countNumbers, NumberReader } from './row-text'
import type { Interners } from './string-interning'

/** Counts by host, referrer and country, as they travel through Temporal. Each distinct string is there once. */
export interface ColumnarCounts {
  hosts: string[]
  referrers: string[]
  countries: string[]
  /**
   * Four integers per group, encoded by `row-text.ts`: indexes into `hosts`, `referrers` and `countries`, and the
   * count.
   */
  rows: string
}

export interface GroupCount {
  host: string
  referrer: string
  country: string
  hits: number
}

/** Upper bound of a row: three indexes below 2²⁰, since a message has no room for more texts, and a count below 2⁵³. */
const ROW_BYTES = 4 + 4 + 4 + 11

/** Name of the groups that are counted together because a window has too many. */
export const OTHER = '(other)'

/** This many hosts keep their name even if their referrers no longer do. */
const MAX_OTHER_GROUPS = 1_000

/** A group whose parts are numbers of {@link Interners}. */
export interface NumberedGroup {
  host: number
  referrer: number
  country: number
}

/** Counts groups. Dictionaries keep the cost of a group at a few numbers, however long its strings are. */
export class GroupCounter {
  private hosts = new Dictionary()
  private referrers = new Dictionary()
  private readonly countries = new Dictionary()
  private readonly table = new GroupTable()
  private others = 0
  /** Whether groups lost their name. Which ones depends on the order of arrival. */
  folded = false
  /** Generation of the numbers that the dictionaries have learned. */
  private generation = 0
  hits = 0

  /** @param policy decides about every new group; a refused one is counted under {@link OTHER} */
  constructor(private readonly policy?: GroupPolicy) {}

  add(host: string, referrer: string, country: string, hits = 1): void {
    const { hosts, referrers, countries, policy } = this
    const a = hosts.indexOf(host)
    const b = referrers.indexOf(referrer)
    const c = countries.indexOf(country)
    if (a !== ABSENT && b !== ABSENT && c !== ABSENT) return this.addIndexed(a, b, c, hits)
    this.hits += hits
    if (
      !policy ||
      policy.admits(
        hosts.hash(host, policy),
        referrers.hash(referrer, policy),
        countries.hash(country, policy),
        host.length + referrer.length,
      )
    )
      this.addNamed(host, referrer, country, hits)
    else this.addOther(host, country, hits)
  }

  /** Adds a hit. If the counter has seen the group's texts before, it does not look at them again. */
  count({ host, referrer, country }: NumberedGroup, interners: Interners): void {
    if (this.generation !== interners.generation) this.unlearn(interners.generation)
    const a = this.hosts.indexOfNumber(host)
    const b = this.referrers.indexOfNumber(referrer)
    const c = this.countries.indexOfNumber(country)
    if (a >= 0 && b >= 0 && c >= 0) {
      this.addIndexed(a, b, c, 1)
      return
    }
    const { hosts, referrers, countries } = interners
    this.add(hosts.text(host), referrers.text(referrer), countries.text(country))
    this.hosts.learn(host, hosts)
    this.referrers.learn(referrer, referrers)
    this.countries.learn(country, countries)
  }

  private unlearn(generation: number): void {
    this.generation = generation
    for (const dictionary of [this.hosts, this.referrers, this.countries]) dictionary.unlearn()
  }

  /** Adds a group whose parts have indexes; the group itself may be new. */
  private addIndexed(a: number, b: number, c: number, hits: number): void {
    this.hits += hits
    const { hosts, referrers, countries, table, policy } = this
    const row = table.indexOf(a, b, c)
    if (row >= 0) table.increase(row, hits)
    else if (
      !policy ||
      policy.admits(
        hosts.hashAt(a, policy),
        referrers.hashAt(b, policy),
        countries.hashAt(c, policy),
        hosts.text(a).length + referrers.text(b).length,
      )
    )
      table.append(a, b, c, hits)
    else this.addOther(hosts.text(a), countries.text(c), hits)
  }

  private addNamed(host: string, referrer: string, country: string, hits: number): void {
    const a = this.hosts.add(host)
    const b = this.referrers.add(referrer)
    const c = this.countries.add(country)
    const row = this.table.indexOf(a, b, c)
    if (row >= 0) this.table.increase(row, hits)
    else this.table.append(a, b, c, hits)
  }

  /** Counts a group without its referrer, and without its host if too many hosts are counted like this. */
  private addOther(host: string, country: string, hits: number): void {
    this.folded = true
    const named = this.rowOf(host, OTHER, country) >= 0 || this.others < MAX_OTHER_GROUPS
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
        ownHosts[host] = this.hosts.indexOf(hosts[host]!)
        ownReferrers[referrer] = this.referrers.indexOf(referrers[referrer]!)
        ownCountries[country] = this.countries.indexOf(countries[country]!)
      }
    }
  }

  get groups(): number {
    return this.table.size
  }

  /** The row of a group, or -1. Rows are numbered from 0 to {@link groups}. */
  rowOf(host: string, referrer: string, country: string): number {
    return this.table.indexOf(
      this.hosts.indexOf(host),
      this.referrers.indexOf(referrer),
      this.countries.indexOf(country),
    )
  }

  group(row: number): GroupCount {
    const { table } = this
    return {
      host: this.hosts.text(table.key(row, 0)),
      referrer: this.referrers.text(table.key(row, 1)),
      country: this.countries.text(table.key(row, 2)),
      hits: table.count(row),
    }
  }

  *all(): Generator<GroupCount> {
    for (let row = 0; row < this.groups; row++) yield this.group(row)
  }

  /** The same counts by host and referrer, with an empty country. Shares the texts, so nothing may be added to it. */
  withoutCountries(): GroupCounter {
    const merged = new GroupCounter()
    merged.hosts = this.hosts
    merged.referrers = this.referrers
    const none = merged.countries.add('')
    for (let row = 0; row < this.groups; row++)
      merged.addIndexed(this.table.key(row, 0), this.table.key(row, 1), none, this.table.count(row))
    return merged
  }

  /** Upper bound of {@link columns} as JSON in bytes. */
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

/** Upper bound of columnar counts as JSON in bytes. */
export function encodedBytes({ hosts, referrers, countries, rows }: ColumnarCounts): number {
  let bytes = rows.length + 64
  for (const texts of [hosts, referrers, countries]) for (const text of texts) bytes += jsonBytes(text)
  return bytes
}

export function groupsOf({ rows }: ColumnarCounts): number {
  return countNumbers(rows) / 4
}

export function hitsOf(counts: ColumnarCounts): number {
  let hits = 0
  for (const group of groups(counts)) hits += group.hits
  return hits
}

export function hitsOfCountry(counts: ColumnarCounts, country: string): number {
  if (!counts.countries.includes(country)) return 0
  let hits = 0
  for (const group of groups(counts)) if (group.country === country) hits += group.hits
  return hits
}

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
