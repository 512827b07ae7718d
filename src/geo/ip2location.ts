import { UNKNOWN_COUNTRY } from '../core/counts/unknown-country'
import { LookupError } from './lookup'

const TIMEOUT = 5_000
/** However long a service asks to be left alone, a mend is noticed within this time. */
const LONGEST_RETRY_AFTER = 600_000
/** Between attempts while only a person can mend it. */
const LASTING_RETRY = 30_000

/** The API of IP2Location.io: one address a request, `GET <url>?key=…&ip=…&format=json`. */
export class Ip2Location {
  constructor(
    private readonly url: string,
    private readonly key: string,
    private readonly timeout = TIMEOUT,
  ) {}

  /**
   * @param address a public one
   * @returns ISO 3166-1 alpha-2, `??` where the service knows none
   * @throws LookupError, which holds neither address nor key, and nothing of what the service wrote
   */
  async country(address: string): Promise<string> {
    const url = new URL(this.url)
    url.searchParams.set('key', this.key)
    url.searchParams.set('ip', address)
    url.searchParams.set('format', 'json')
    let response: Response
    let text: string
    try {
      response = await fetch(url, { signal: AbortSignal.timeout(this.timeout), redirect: 'manual' })
      text = await response.text()
    } catch (error) {
      throw new LookupError(`The look-up service ${this.silence(error)}.`, 'transient')
    }
    if (response.status === 200) return countryOf(text)
    if (response.status === 400 && isAboutTheAddress(text)) return UNKNOWN_COUNTRY
    throw refusal(response)
  }

  /** `fetch` puts what was asked into some of its messages, so only its error codes are passed on. */
  private silence(error: unknown): string {
    const { name, cause } = error as Error
    if (name === 'TimeoutError') return `does not answer within ${this.timeout} ms`
    const { code } = (cause ?? {}) as { code?: unknown }
    return `cannot be reached (${typeof code === 'string' ? code : 'connection failed'})`
  }
}

function countryOf(text: string): string {
  const code = parse(text)?.country_code
  if (typeof code === 'string' && /^[A-Z]{2}$/.test(code)) return code
  if (code === null || code === '-' || code === '') return UNKNOWN_COUNTRY
  throw new LookupError('The look-up service answers something that is no answer (200).', 'transient')
}

function isAboutTheAddress(text: string): boolean {
  const error = parse(text)?.error as { error_message?: unknown } | null | undefined
  return typeof error?.error_message === 'string' && /\bIP address\b/i.test(error.error_message)
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function refusal({ status, headers }: Response): LookupError {
  if (status === 401 || status === 403)
    return new LookupError(
      `The look-up service refuses the key (${status}): set IP_CODING_KEY to a valid one and restart the workers, or ` +
        'have this one renewed. Until then nothing is read, and nothing is lost.',
      'permanent',
      LASTING_RETRY,
    )
  const what = status === 429 ? 'has been asked too often' : 'fails'
  return new LookupError(`The look-up service ${what} (${status}).`, 'transient', retryAfter(headers))
}

/** Seconds, or an HTTP date (RFC 9110, 10.2.3); in milliseconds. */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after')
  if (value === null) return undefined
  const wait = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now()
  return Number.isNaN(wait) ? undefined : Math.min(Math.max(wait, 0), LONGEST_RETRY_AFTER)
}

export interface GeoServiceConfig {
  url: string
  /** Secret; undefined where none is set. */
  key?: string
  /** Look-ups a second at most, of one worker process. */
  rate: number
  /** What becomes of events while it fails: they wait, or are counted under `??`, to be looked up again by a replay. */
  onError: 'wait' | 'unknown'
}
