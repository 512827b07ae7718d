import type { LogRecord } from '../core/event/log-record'
import { UNKNOWN_COUNTRY, UNLOCATED } from '../core/counts/unknown-country'
import type { Logger } from '../log'
import { publicAddress, type LocateCountry } from './country'
import { LookupError, type BatchLookup, type LookupTrouble } from './lookup'
import { waitAfter, type RemoteLookup } from './remote-lookup'

interface Bounds {
  /** How long events wait for a service that begins to fail, ms. */
  maxWait: number
  /** Addresses that are let pass at most before they are asked for anew. */
  passed: number
  /** ms */
  firstWait: number
}

const BOUNDS: Bounds = { maxWait: 2_000, passed: 200_000, firstWait: 500 }

const never = new AbortController().signal

/**
 * Lets events pass as {@link UNLOCATED} while the service fails. It is then asked for one address now and again, with
 * nobody waiting for it; once it answers, what was let pass is asked for anew.
 */
export class FallbackLookup implements BatchLookup {
  private readonly bounds: Bounds
  private readonly passed = new Set<string>()
  private turn: Promise<void> = Promise.resolve()
  private failing: { failure: LookupError; attempt: number; nextTry: number; probing: boolean } | undefined

  constructor(
    private readonly remote: RemoteLookup,
    private readonly logger: Pick<Logger, 'warn' | 'info'>,
    bounds: Partial<Bounds> = {},
  ) {
    this.bounds = { ...BOUNDS, ...bounds }
  }

  readonly locate: LocateCountry = ip => {
    const address = publicAddress(ip)
    if (address === undefined) return UNKNOWN_COUNTRY
    if (this.passed.has(address)) return this.remote.find(address) ?? UNLOCATED
    return this.remote.locate(ip)
  }

  unknownOf(records: readonly LogRecord[]): string[] {
    return this.remote.unknownOf(records).filter(address => !this.passed.has(address))
  }

  get trouble(): LookupTrouble | undefined {
    if (!this.failing) return this.remote.trouble
    const { failure, attempt, nextTry } = this.failing
    return {
      state: 'counting as unknown',
      reason: failure.message,
      attempt,
      nextTry: new Date(nextTry).toISOString(),
    }
  }

  /** Rejects only where it is called off. */
  resolve(addresses: string[], signal: AbortSignal): Promise<void> {
    // One after the other: those that come while the service is found to fail need not wait as long again.
    const resolved = this.turn.then(() => this.resolveOrPass(addresses, signal))
    this.turn = resolved.catch(() => undefined)
    return resolved
  }

  private async resolveOrPass(addresses: string[], signal: AbortSignal): Promise<void> {
    if (!this.failing) {
      try {
        return await this.remote.resolve(addresses, signal, this.bounds.maxWait)
      } catch (error) {
        if (!(error instanceof LookupError)) throw error
        this.fail(error, 1)
      }
    }
    if (this.passed.size + addresses.length > this.bounds.passed) this.passed.clear()
    for (const address of addresses) this.passed.add(address)
    this.probe(addresses[0]!)
  }

  private fail(failure: LookupError, attempt: number): void {
    const nextTry = Date.now() + waitAfter(failure, attempt, this.bounds.firstWait)
    this.failing = { failure, attempt, nextTry, probing: false }
    this.logger.warn(this.trouble, 'countries cannot be looked up, and events are counted without')
  }

  private probe(address: string): void {
    const { failing } = this
    if (!failing || failing.probing || Date.now() < failing.nextTry) return
    failing.probing = true
    this.remote.resolve([address], never, 0).then(
      () => {
        this.failing = undefined
        this.passed.clear()
        this.logger.info({}, 'countries are looked up again')
      },
      (error: unknown) => this.fail(error as LookupError, failing.attempt + 1),
    )
  }
}
