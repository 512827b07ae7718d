import { clientAddresses } from './addresses'
import { REQUEST_HEADERS, USER_AGENTS } from './browsers'
import { type Random, Zipf } from './random'

const BRANDS = [
  'aurora',
  'birchwood',
  'cobalt',
  'driftwood',
  'ember',
  'foxglove',
  'granite',
  'harbour',
  'iris',
  'juniper',
]
const SITES = ['www', 'shop', 'blog', 'news', 'docs']

const SECTIONS = [
  '',
  'products/',
  'articles/',
  'help/',
  'search?q=',
  'category/',
  'author/',
  'events/',
  'tags/',
]
const WORDS = [
  'summer',
  'guide',
  'review',
  'garden',
  'travel',
  'recipes',
  'music',
  'winter',
  'design',
  'camera',
  'coffee',
]

/** Referrers outside the sites, most frequent first. '' means none, and so does '-' in logs. */
const EXTERNAL_REFERRERS = [
  '',
  'https://www.google.com/',
  '-',
  'https://www.bing.com/',
  'https://www.facebook.com/',
  'https://duckduckgo.com/',
  'https://t.co/',
  'https://www.reddit.com/',
  'https://news.ycombinator.com/',
  'https://www.google.co.uk/',
  'https://www.google.de/',
  'https://search.yahoo.com/',
  'https://l.facebook.com/',
  'https://www.linkedin.com/',
  'https://yandex.ru/',
  'https://www.baidu.com/',
  'android-app://com.google.android.googlequicksearchbox/',
  'https://www.youtube.com/',
  'https://www.pinterest.com/',
  'https://www.google.co.jp/',
  'https://www.google.fr/',
  'https://l.instagram.com/',
  'https://www.ecosia.org/',
  'https://lobste.rs/',
]

const PAGES_PER_HOST = 400
const ADDRESSES = 10_000

/** The fields of an event except its time, each as JSON text. */
export interface Visit {
  url: string
  referrer: string
  userAgent: string
  host: string
  ip: string
  headers: string
}

/**
 * Draws visits by Zipf's law from 50 hosts, 400 pages per host, 10,000 client addresses and a number of distinct
 * referrers. A host's own pages are frequent among its referrers, pages of other hosts are rare.
 */
export class Population {
  readonly hosts = SITES.flatMap(site => BRANDS.map(brand => `${site}.${brand}.example`))
  private readonly hostTexts = this.hosts.map(host => JSON.stringify(host))
  private readonly addresses: string[]
  private readonly userAgents = USER_AGENTS.map(agent => JSON.stringify(agent))
  private readonly headers = REQUEST_HEADERS.map(headers => JSON.stringify(headers))
  private readonly external: string[]
  private readonly internal: string[]
  private readonly paths = Array.from({ length: PAGES_PER_HOST }, (_, page) => pagePath(page))

  private readonly hostRank = new Zipf(this.hosts.length, 1)
  private readonly pageRank = new Zipf(PAGES_PER_HOST, 0.9)
  private readonly addressRank = new Zipf(ADDRESSES, 0.8)
  private readonly agentRank = new Zipf(USER_AGENTS.length, 0.9)
  private readonly referrerRank: Zipf

  constructor(referrers: number, random: Random) {
    this.addresses = clientAddresses(ADDRESSES, random).map(address => JSON.stringify(address))
    this.external = EXTERNAL_REFERRERS.slice(0, Math.ceil(referrers / 2)).map(referrer =>
      JSON.stringify(referrer),
    )
    this.internal = this.pageReferrers(referrers - this.external.length)
    this.referrerRank = new Zipf(referrers, 1.2)
  }

  visit(random: Random): Visit {
    const host = this.hostRank.rank(random)
    return {
      url: `"https://${this.hosts[host]}${this.paths[this.pageRank.rank(random)]}"`,
      referrer: this.referrer(host, this.referrerRank.rank(random)),
      userAgent: this.userAgents[this.agentRank.rank(random)]!,
      host: this.hostTexts[host]!,
      ip: this.addresses[this.addressRank.rank(random)]!,
      headers: random.pick(this.headers),
    }
  }

  private pageReferrers(count: number): string[] {
    return this.hosts.flatMap((host, index) => {
      const pages = this.firstPageReferrer(index + 1, count) - this.firstPageReferrer(index, count)
      return Array.from({ length: pages }, (_, page) => JSON.stringify(`https://${host}${pagePath(page)}`))
    })
  }

  private firstPageReferrer(host: number, count: number): number {
    return Math.floor((host * count) / this.hosts.length)
  }

  /** Ranks alternate between external and internal referrers; the internal ones start with the host's own pages. */
  private referrer(host: number, rank: number): string {
    const { external, internal } = this
    if (rank < 2 * external.length && rank % 2 === 0) return external[rank / 2]!
    const nth = rank < 2 * external.length ? rank >> 1 : rank - external.length
    return internal[(this.firstPageReferrer(host, internal.length) + nth) % internal.length]!
  }
}

/** The path of a page, distinct for distinct numbers; page 0 is the front page. */
function pagePath(page: number): string {
  if (page === 0) return '/'
  const word = WORDS[page % WORDS.length]!
  return `/${SECTIONS[page % SECTIONS.length]!}${word}-${page}`
}
