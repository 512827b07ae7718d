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

/** Host, referrer and country indexes share one number as a key: 22 + 22 + 9 bits, the 53 a double holds exactly. */
const COUNTRIES = 2 ** 9
const REFERRERS = 2 ** 22

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

  find(text: string): number | undefined {
    return this.indexes.get(text)
  }

  index(text: string): number {
    let index = this.indexes.get(text)
    if (index === undefined) {
      index = this.indexes.size
      this.indexes.set(text, index)
      this.bytes += jsonBytes(text)
    }
    return index
  }

  get size(): number {
    return this.indexes.size
  }

  strings(): string[] {
    return [...this.indexes.keys()]
  }
}

/** Counts groups; dictionaries keep a group's cost at one number, however long its strings are. */
export class GroupCounter {
  private readonly hosts = new Dictionary()
  private readonly referrers = new Dictionary()
  private readonly countries = new Dictionary()
  private readonly counts = new Map<number, number>()
  private others = 0
  hits = 0

  /** @param admits asked of every group that is new; one that it refuses is counted under {@link OTHER} */
  constructor(private readonly admits?: Admits) {}

  add(host: string, referrer: string, country: string, hits = 1): void {
    this.hits += hits
    const key = keyOf(this.hosts.find(host), this.referrers.find(referrer), this.countries.find(country))
    const count = this.counts.get(key)
    if (count !== undefined) this.counts.set(key, count + hits)
    else if (!this.admits || this.admits(host, referrer, country))
      this.addNamed(host, referrer, country, hits)
    else this.addOther(host, country, hits)
  }

  private addNamed(host: string, referrer: string, country: string, hits: number): boolean {
    const key = keyOf(this.hosts.index(host), this.referrers.index(referrer), this.countries.index(country))
    const count = this.counts.get(key)
    this.counts.set(key, (count ?? 0) + hits)
    return count === undefined
  }

  /** The host keeps its name while there are few such; there are only so many countries. */
  private addOther(host: string, country: string, hits: number): void {
    const key = keyOf(this.hosts.find(host), this.referrers.find(OTHER), this.countries.find(country))
    const named = this.counts.has(key) || this.others < MAX_OTHER_GROUPS
    if (this.addNamed(named ? host : OTHER, OTHER, country, hits)) this.others++
  }

  addAll(columns: ColumnarCounts): void {
    for (const { host, referrer, country, hits } of groups(columns)) this.add(host, referrer, country, hits)
  }

  get groups(): number {
    return this.counts.size
  }

  /** Upper bound of the JSON text of {@link columns} in bytes, kept as groups are added. */
  get encodedBytes(): number {
    return this.hosts.bytes + this.referrers.bytes + this.countries.bytes + this.counts.size * ROW_BYTES + 64
  }

  columns(): ColumnarCounts {
    const rows: number[] = []
    for (const [key, hits] of this.counts) {
      const pair = Math.floor(key / COUNTRIES)
      rows.push(Math.floor(pair / REFERRERS), pair % REFERRERS, key % COUNTRIES, hits)
    }
    return {
      hosts: this.hosts.strings(),
      referrers: this.referrers.strings(),
      countries: this.countries.strings(),
      rows,
    }
  }
}

/** NaN where a part is not known: no group has that key. */
function keyOf(host = NaN, referrer = NaN, country = NaN): number {
  return (host * REFERRERS + referrer) * COUNTRIES + country
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
