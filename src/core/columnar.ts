import { GroupTable } from './group-table'

/**
 * Counts by host, referrer and country, as they travel through Temporal: each distinct string once, then four
 * integers a group: indexes into `hosts`, `referrers` and `countries`, and the count.
 */
export interface ColumnarCounts {
  hosts: string[]
  referrers: string[]
  countries: string[]
  rows: number[]
}

export interface GroupCount {
  host: string
  referrer: string
  country: string
  hits: number
}

/** A row as JSON at the most: three indexes and a count with their commas. */
const ROW_BYTES = 30

/** Names the groups that are counted together because a window has too many. */
export const OTHER = '(other)'

/** So many hosts keep their name even where their referrers no longer do. */
const MAX_OTHER_GROUPS = 1_000

/** Whether a group that is new keeps its name. */
export type Admits = (host: string, referrer: string, country: string) => boolean

class Dictionary {
  private readonly indexes = new Map<string, number>()
  bytes = 0

  /** The text's index; {@link ABSENT} where it has none. */
  find(text: string): number {
    return this.indexes.get(text) ?? ABSENT
  }

  /** The text's index, given to it now where it has none. */
  index(text: string): number {
    let index = this.indexes.get(text)
    if (index === undefined) {
      index = this.indexes.size
      this.indexes.set(text, index)
      this.bytes += jsonBytes(text)
    }
    return index
  }

  /** The indexes, {@link ABSENT} among them, of the texts of another dictionary. */
  translate(texts: string[]): Int32Array {
    return Int32Array.from(texts, text => this.find(text))
  }

  strings(): string[] {
    return [...this.indexes.keys()]
  }
}

/** An index that no row has. */
const ABSENT = -1

/** Counts groups; dictionaries keep a group's cost at a few numbers, however long its strings are. */
export class GroupCounter {
  private readonly hosts = new Dictionary()
  private readonly referrers = new Dictionary()
  private readonly countries = new Dictionary()
  private readonly table = new GroupTable()
  private others = 0
  hits = 0

  /** @param admits asked of every group that is new; one that it refuses is counted under {@link OTHER} */
  constructor(private readonly admits?: Admits) {}

  add(host: string, referrer: string, country: string, hits = 1): void {
    this.hits += hits
    const row = this.rowOf(host, referrer, country)
    if (row >= 0) this.table.increase(row, hits)
    else if (!this.admits || this.admits(host, referrer, country))
      this.addNamed(host, referrer, country, hits)
    else this.addOther(host, country, hits)
  }

  /** Index of the group's row, -1 where it has none. */
  private rowOf(host: string, referrer: string, country: string): number {
    return this.table.find(this.hosts.find(host), this.referrers.find(referrer), this.countries.find(country))
  }

  private addNamed(host: string, referrer: string, country: string, hits: number): void {
    const a = this.hosts.index(host)
    const b = this.referrers.index(referrer)
    const c = this.countries.index(country)
    const row = this.table.find(a, b, c)
    if (row >= 0) this.table.increase(row, hits)
    else this.table.append(a, b, c, hits)
  }

  /** The host keeps its name while there are few such; there are only so many countries. */
  private addOther(host: string, country: string, hits: number): void {
    const named = this.rowOf(host, OTHER, country) >= 0 || this.others < MAX_OTHER_GROUPS
    const before = this.groups
    this.addNamed(named ? host : OTHER, OTHER, country, hits)
    if (this.groups > before) this.others++
  }

  addAll({ hosts, referrers, countries, rows }: ColumnarCounts): void {
    const ownHosts = this.hosts.translate(hosts)
    const ownReferrers = this.referrers.translate(referrers)
    const ownCountries = this.countries.translate(countries)
    for (let i = 0; i < rows.length; i += 4) {
      const host = rows[i]!
      const referrer = rows[i + 1]!
      const country = rows[i + 2]!
      const hits = rows[i + 3]!
      const row = this.table.find(ownHosts[host]!, ownReferrers[referrer]!, ownCountries[country]!)
      if (row >= 0) {
        this.table.increase(row, hits)
        this.hits += hits
      } else {
        this.add(hosts[host]!, referrers[referrer]!, countries[country]!, hits)
        ownHosts[host] = this.hosts.find(hosts[host]!)
        ownReferrers[referrer] = this.referrers.find(referrers[referrer]!)
        ownCountries[country] = this.countries.find(countries[country]!)
      }
    }
  }

  get groups(): number {
    return this.table.size
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
      rows: this.table.toArray(),
    }
  }
}

/** Upper bound of the JSON text of columnar counts in bytes. */
export function encodedBytes({ hosts, referrers, countries, rows }: ColumnarCounts): number {
  let bytes = (rows.length / 4) * ROW_BYTES + 64
  for (const texts of [hosts, referrers, countries]) for (const text of texts) bytes += jsonBytes(text)
  return bytes
}

/** The groups of columnar counts, one by one. */
export function* groups({ hosts, referrers, countries, rows }: ColumnarCounts): Generator<GroupCount> {
  for (let i = 0; i < rows.length; i += 4) {
    yield {
      host: hosts[rows[i]!]!,
      referrer: referrers[rows[i + 1]!]!,
      country: countries[rows[i + 2]!]!,
      hits: rows[i + 3]!,
    }
  }
}

/** Upper bound of a string's bytes as a JSON array element in UTF-8 (RFC 8259: quotes, escapes, a comma). */
function jsonBytes(text: string): number {
  let bytes = 3
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20) bytes += 6
    else if (code === 0x22 || code === 0x5c) bytes += 2
    else if (code >= 0xd800 && code < 0xe000) bytes += 6
    else bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : 3
  }
  return bytes
}
