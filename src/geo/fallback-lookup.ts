import { UNKNOWN_COUNTRY, UNLOCATED } from '../core/counts/unknown-country'
import type { LogRecord } from '../core/event/log-record'
import type { Logger } from '../log'
import { publicAddress, type LocateCountry } from './country'
import { LookupError, type BatchLookup, type LookupTrouble } from './lookup'
import { waitAfter, type RemoteLookup } from './remote-lookup'

const BOUNDS = {
  /** How long events wait when the service starts to fail, ms. */
  maxWait: 2_000,
  /** Maximum skipped addresses; beyond it they are looked up again. */
  skipped: 200_000,
  /** ms */
  firstWait: 500,
}

const never = new AbortController().signal

/**
 * Counts events as {@link UNLOCATED} while the service is down. Meanwhile it probes the service with one address at a
 * time, in the background; after the first answer it looks up addresses again.
 */
export class FallbackLookup implements BatchLookup {
  private readonly bounds: typeof BOUNDS
  private readonly skipped = new Set<string>()
  private turn: Promise<void> = Promise.resolve()
  private outage:
    { failure: LookupError; attempt: number; nextTry: string; due: number; probing: boolean } | undefined

  constructor(
    private readonly remote: RemoteLookup,
    private readonly logger: Pick<Logger, 'warn' | 'info'>,
    bounds: Partial<typeof BOUNDS> = {},
  ) {
    this.bounds = { ...BOUNDS, ...bounds }
  }

  readonly locate: LocateCountry = ip => {
    const address = publicAddress(ip)
    if (address === undefined) return UNKNOWN_COUNTRY
    if (this.skipped.has(address)) return this.remote.find(address) ?? UNLOCATED
    return this.remote.locate(ip)
  }

  unknownOf(records: readonly LogRecord[]): string[] {
    return this.remote.unknownOf(records).filter(address => !this.skipped.has(address))
  }

  get trouble(): LookupTrouble | undefined {
    if (!this.outage) return this.remote.trouble
    const { failure, attempt, nextTry } = this.outage
    return { state: 'counting as unknown', reason: failure.message, attempt, nextTry }
  }

  /** Rejects only if `signal` aborts. */
  resolve(addresses: string[], signal: AbortSignal): Promise<void> {
    // One call at a time, so that only the first one waits for the service to fail.
    const resolved = this.turn.then(() => this.resolveOrFallBack(addresses, signal))
    this.turn = resolved.catch(() => undefined)
    return resolved
  }

  private async resolveOrFallBack(addresses: string[], signal: AbortSignal): Promise<void> {
    if (!this.outage) {
      try {
        return await this.remote.resolve(addresses, signal, this.bounds.maxWait)
      } catch (error) {
        if (!(error instanceof LookupError)) throw error
        this.fail(error, 1)
      }
    }
    if (this.skipped.size + addresses.length > this.bounds.skipped) this.skipped.clear()
    for (const address of addresses) this.skipped.add(address)
    this.probe(addresses[0]!)
  }

  private fail(failure: LookupError, attempt: number): void {
    const wait = waitAfter(failure, attempt, this.bounds.firstWait)
    const nextTry = new Date(Date.now() + wait).toISOString()
    // A clock that is set back must not delay the next try.
    this.outage = { failure, attempt, nextTry, due: performance.now() + wait, probing: false }
    this.logger.warn(this.trouble, 'the country lookup failed; events are counted without their country')
  }

  private probe(address: string): void {
    const { outage } = this
    if (!outage || outage.probing || performance.now() < outage.due) return
    outage.probing = true
    this.remote.resolve([address], never, 0).then(
      () => {
        this.outage = undefined
        this.skipped.clear()
        this.logger.info({}, 'the country lookup works again')
      },
      (error: unknown) => this.fail(error as LookupError, outage.attempt + 1),
    )
  }
}
