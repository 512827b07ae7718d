import type { LogRecord } from '../core/event/log-record'
import type { LocateCountry } from './country'

/** Where countries come from. */
export interface Lookup {
  locate: LocateCountry
  /** Only where it is a service: it has to be asked for addresses before `locate` is. */
  service?: BatchLookup
}

/** Reading does not wait within an event: the addresses of what is to be read are asked for first. */
export interface BatchLookup {
  /** The addresses of events that have to be resolved before the records are read. */
  unknownOf(records: readonly LogRecord[]): string[]
  /**
   * Afterwards `locate` knows the addresses.
   *
   * @throws LookupError where that is not to be had
   */
  resolve(addresses: string[], signal: AbortSignal): Promise<void>
  readonly trouble: LookupTrouble | undefined
}

/** What the heartbeat of a poller shows of a service that fails. */
export interface LookupTrouble {
  /** Whether its events wait for the service, or are counted without their country. */
  state: 'retrying' | 'counting as unknown'
  reason: string
  attempt: number
  /** ISO 8601. */
  nextTry: string
}

/** A look-up that did not succeed. Its message is for a person, and holds neither address nor key. */
export class LookupError extends Error {
  override name = 'LookupError'

  /**
   * @param kind `passing` where waiting can help, `lasting` where only a person can
   * @param retryAfter not to be tried again sooner, ms
   */
  constructor(
    message: string,
    readonly kind: 'transient' | 'permanent',
    readonly retryAfter?: number,
  ) {
    super(message)
  }
}
