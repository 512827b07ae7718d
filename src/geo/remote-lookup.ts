import { setTimeout as sleep } from 'node:timers/promises'
import { decodeText } from '../core/counts/byte-cache'
import { readEvent } from '../core/event/event'
import type { LogRecord } from '../core/event/log-record'
import { UNKNOWN_COUNTRY } from '../core/counts/unknown-country'
import type { Logger } from '../log'
import { publicAddress, type LocateCountry } from './country'
import { LookupError, type BatchLookup, type LookupTrouble } from './lookup'

interface Bounds {
  /** Look-ups a second at most. */
  rate: number
  /** Look-ups under way at most. */
  concurrency: number
  /** Addresses remembered at most; more than all partitions of a poller are read in one go with. */
  remembered: number
  /** How long a poller waits with its partitions, before its attempt fails with the reason, ms. */
  maxWait: number
  /** ms */
  firstWait: number
}

const BOUNDS: Bounds = {
  rate: 50,
  concurrency: 8,
  remembered: 200_000,
  maxWait: 20_000,
  firstWait: 500,
}
const LONGEST_WAIT = 8_000

/**
 * Countries of a service. Reading does not wait within an event: what is to be read is looked at first for addresses
 * that are {@link unknownOf unknown}, they are {@link resolve resolved}, and {@link locate} answers from memory.
 */
export class RemoteLookup implements BatchLookup {
  trouble: LookupTrouble | undefined
  private readonly bounds: Bounds
  /** The least recently used first. */
  private readonly countries = new Map<string, string>()
  private turn: Promise<void> = Promise.resolve()
  private nextStart = 0

  constructor(
    private readonly ask: (address: string) => Promise<string>,
    bounds: Partial<Bounds>,
    private readonly logger: Pick<Logger, 'warn' | 'info'>,
  ) {
    this.bounds = { ...BOUNDS, ...bounds }
  }

  readonly locate: LocateCountry = ip => {
    const address = publicAddress(ip)
    if (address === undefined) return UNKNOWN_COUNTRY
    const country = this.find(address)
    // Never a guess: a count under the wrong country could not be told from a right one.
    if (country === undefined) throw new Error('An address was to be counted before it was looked up.')
    return country
  }

  /** The country of a public address, where it is remembered. */
  find(address: string): string | undefined {
    return this.countries.get(address)
  }

  unknownOf(records: readonly LogRecord[]): string[] {
    const unknown = new Set<string>()
    for (const { value, timestamp } of records) {
      const event = readEvent(value && decodeText(value), timestamp, ANY_EVENT)
      const address = typeof event === 'string' ? undefined : publicAddress(event.ip)
      if (address !== undefined && !this.remembers(address)) unknown.add(address)
    }
    return [...unknown]
  }

  /**
   * Looks addresses up, and tries again what fails in passing.
   *
   * @param maxWait how long, ms
   * @throws LookupError where it is permanent, or has been failing for longer
   */
  resolve(addresses: string[], signal: AbortSignal, maxWait = this.bounds.maxWait): Promise<void> {
    // One after the other: the bounds are those of the service, not of a partition.
    const resolved = this.turn.then(() => this.untilResolved(addresses, signal, maxWait))
    this.turn = resolved.catch(() => undefined)
    return resolved
  }

  private async untilResolved(addresses: string[], signal: AbortSignal, maxWait: number): Promise<void> {
    const giveUpAt = Date.now() + maxWait
    try {
      for (let attempt = 1; ; attempt++) {
        signal.throwIfAborted()
        const failure = await this.askAll(addresses, signal)
        if (!failure) return
        const wait = waitAfter(failure, attempt, this.bounds.firstWait)
        if (failure.kind === 'permanent' || Date.now() + wait > giveUpAt) throw failure
        this.report(failure, attempt, wait)
        await sleep(wait, undefined, { signal })
      }
    } finally {
      this.trouble = undefined
    }
  }

  private report({ message: reason }: LookupError, attempt: number, wait: number): void {
    const nextTry = new Date(Date.now() + wait).toISOString()
    this.trouble = { state: 'retrying', reason, attempt, nextTry }
    this.logger.warn(this.trouble, 'countries cannot be looked up')
  }

  /** Asks for what is not known yet; after the first failure no more look-ups are begun, and it is returned. */
  private async askAll(addresses: string[], signal: AbortSignal): Promise<LookupError | undefined> {
    const left = addresses.filter(address => !this.remembers(address))
    const failures: LookupError[] = []
    const lane = async () => {
      for (let address; failures.length === 0 && (address = left.pop()) !== undefined;) {
        await this.untilAllowed(signal)
        try {
          this.remember(address, await this.ask(address))
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
    const start = Math.max(Date.now(), this.nextStart)
    this.nextStart = start + 1_000 / this.bounds.rate
    if (start > Date.now()) await sleep(start - Date.now(), undefined, { signal })
  }

  private remembers(address: string): boolean {
    const country = this.countries.get(address)
    if (country === undefined) return false
    this.countries.delete(address)
    this.countries.set(address, country)
    return true
  }

  private remember(address: string, country: string): void {
    this.countries.set(address, country)
    const [oldest] = this.countries.keys()
    if (this.countries.size > this.bounds.remembered) this.countries.delete(oldest!)
  }
}

/** Until a failed look-up is tried again, ms: ever longer, and no sooner than the service wants. */
export function waitAfter(
  { retryAfter = 0 }: LookupError,
  attempt: number,
  firstWait = BOUNDS.firstWait,
): number {
  return Math.max(retryAfter, Math.min(firstWait * 2 ** (attempt - 1), LONGEST_WAIT))
}

/** The rules that reject no event for what its address does not depend on. */
const ANY_EVENT = { maxFuture: Infinity, referrer: 'full' } as const
