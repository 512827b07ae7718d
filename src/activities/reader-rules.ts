import { randomBytes } from 'node:crypto'
import type { HashKey } from '../core/counts/half-sip-hash'
import type { PipelineSettings } from '../core/settings'
import type { ReaderRules } from '../core/window/partition-reader'
import type { Lookup } from '../geo/lookup'

/** Random per process, so that nobody can construct colliding hosts or referrers. */
const hashKey = [...new Int32Array(new Uint8Array(randomBytes(16)).buffer)] as unknown as HashKey

export function readerRules(settings: PipelineSettings, { locate }: Lookup): ReaderRules {
  return { ...settings, locate, hashKey }
}
