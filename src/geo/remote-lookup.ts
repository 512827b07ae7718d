import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { decodeText } from '../core/counts/byte-cache'
import { UNKNOWN_COUNTRY } from '../core/counts/unknown-country'
import { readEvent } from '../core/event/event'
import type { LogRecord } from '../core/event/log-record'
import type { Logger } from '../log'
import { publicAddress, type LocateCountry } from './country'
import { LookupError, type BatchLookup, type LookupTrouble } from './lookup'

const BOUNDS = {
  rate: 50,
  concurrency: 8,
  /** Maximum cached addresses; more than the records that a poller counts at once can have. */
  cached: 200_000,
  /** How long events wait for the service before the poller's attempt fails, ms. */
  maxWait: 20_000,
  /** ms */
  firstWait: 500,
}
const MAX_WAIT = 8_000
/** Rules that reject no event whose address is needed. */
const ANY_EVENT = { maxFuture: Infinity, referrer: 'full' } as const

/** Countries from a service. {@link locate} answers from a cache that {@link resolve} fills. */
export class RemoteLookup implements BatchLookup {
  trouble: LookupTrouble | undefined
  private readonly bounds: typeof BOUNDS
  private readonly countries: LRUCache<string, string>
  private turn: Promise<void> = Promise.resolve()
  private nextStart = 0

  constructor(
    private readonly ask: (address: string) => Promise<string>,
    bounds: Partial<typeof BOUNDS>,
    private readonly logger: Pick<Logger, 'warn' | 'info'>,
  ) {
    this.bounds = { ...BOUNDS, ...bounds }
    this.countries = new LRUCache({ max: this.bounds.cached })
  }

  readonly locate: LocateCountry = ip => {
    const address = publicAddress(ip)
    if (address === undefined) return UNKNOWN_COUNTRY
    const country = this.find(address)
    // Never a guess: a count under the wrong country cannot be told from a correct one.
    if (country === undefined) throw new Error('An address must be looked up before it is counted.')
    return country
  }

  find(address: string): string | undefined {
    return this.countries.peek(address)
  }

  /** Marks the cached addresses as recently used, so that they stay cached until the records are counted. */
  unknownOf(records: readonly LogRecord[]): string[] {
    const unknown = new Set<string>()
    for (const { value, timestamp } of records) {
      const event = readEvent(value && decodeText(value), timestamp, ANY_EVENT)
      const address = typeof event === 'string' ? undefined : publicAddress(event.ip)
      if (address !== undefined && this.countries.get(address) === undefined) unknown.add(address)
    }
    return [...unknown]
  }

  /**
   * Looks addresses up, and retries transient failures.
   *
   * @param maxWait how long to retry, ms
   * @throws LookupError if a failure is permanent or has lasted for `maxWait`
   */
  resolve(addresses: string[], signal: AbortSignal, maxWait = this.bounds.maxWait): Promise<void> {
    // One call at a time, because the bounds are for all partitions together.
    const resolved = this.turn.then(() => this.untilResolved(addresses, signal, maxWait))
    this.turn = resolved.catch(() => undefined)
    return resolved
  }

  private async untilResolved(addresses: string[], signal: AbortSignal, maxWait: number): Promise<void> {
    const giveUpAt = performance.now() + maxWait
    try {
      for (let attempt = 1; ; attempt++) {
        signal.throwIfAborted()
        const failure = await this.askAll(addresses, signal)
        if (!failure) return
        const wait = waitAfter(failure, attempt, this.bounds.firstWait)
        if (failure.kind === 'permanent' || performance.now() + wait > giveUpAt) throw failure
        this.trouble = {
          state: 'retrying',
          reason: failure.message,
          attempt,
          nextTry: new Date(Date.now() + wait).toISOString(),
        }
        this.logger.warn(this.trouble, 'the country lookup failed and is retried')
        await sleep(wait, undefined, { signal })
      }
    } finally {
      this.trouble = undefined
    }
  }

  /** Looks up what is not cached. Starts no more lookups after the first failure, and returns it. */
  private async askAll(addresses: string[], signal: AbortSignal): Promise<LookupError | undefined> {
    const left = addresses.filter(address => this.countries.get(address) === undefined)
    const failures: LookupError[] = []
    const lane = async () => {
      for (let address; failures.length === 0 && (address = left.pop()) !== undefined;) {
        await this.untilAllowed(signal)
        try {
          this.countries.set(address, await this.ask(address))
        } catch (error) {
          if (!(error instanceof LookupError)) throw error
          failures.push(error)
        }
      }
    }
    await Promise.all(Array.from({ length: this.bounds.concurrency }, lane))
    return failures.find(({ kind }) => kind === 'permanent') ?? failures[0]
  }

  private async untilAllowed(signal: AbortSignal): Promise<void> {
    const start = Math.max(performance.now(), this.nextStart)
    this.nextStart = start + 1_000 / this.bounds.rate
    const wait = start - performance.now()
    if (wait > 0) await sleep(wait, undefined, { signal })
  }
}

/** The wait before a retry, ms: doubles with each attempt, and is at least what the service asked for. */
export function waitAfter({ retryAfter = 0 }: LookupError, attempt: number, firstWait: number): number {
  return Math.max(retryAfter, Math.min(firstWait * 2 ** (attempt - 1), MAX_WAIT))
}
