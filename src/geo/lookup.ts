import type { LogRecord } from '../core/event/log-record'
import type { LocateCountry } from './country'

export interface Lookup {
  locate: LocateCountry
  /** Set if countries come from a service, which must resolve addresses before `locate` is called. */
  service?: BatchLookup
}

/** Looks up the addresses of records before they are counted, because counting is synchronous. */
export interface BatchLookup {
  /** The addresses that must be resolved before these records are counted. */
  unknownOf(records: readonly LogRecord[]): string[]
  /**
   * Afterwards `locate` knows the addresses.
   *
   * @throws LookupError if the service does not answer
   */
  resolve(addresses: string[], signal: AbortSignal): Promise<void>
  readonly trouble: LookupTrouble | undefined
}

/** A failing service, as a poller's heartbeat shows it. */
export interface LookupTrouble {
  /** Whether events wait for the service, or count without their country. */
  state: 'retrying' | 'counting as unknown'
  reason: string
  attempt: number
  /** ISO 8601. */
  nextTry: string
}

/** A failed lookup. The message is for a person, and contains neither the address nor the key. */
export class LookupError extends Error {
  override name = 'LookupError'

  /**
   * @param kind `permanent` if only a person can fix it
   * @param retryAfter minimum wait before a retry, ms
   */
  constructor(
    message: string,
    readonly kind: 'transient' | 'permanent',
    readonly retryAfter?: number,
  ) {
    super(message)
  }
}
