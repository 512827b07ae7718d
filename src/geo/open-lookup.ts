import { UserError } from '../errors'
import { logger } from '../log'
import { openCountryDatabase } from './country'
import { Ip2Location, type GeoServiceConfig } from './ip2location'
import { FallbackLookup } from './fallback-lookup'
import type { Lookup } from './lookup'
import { RemoteLookup } from './remote-lookup'

export interface Lookups {
  /** Of pollers, which may let events pass while it fails. */
  polling: Lookup
  /** Of replay and verification, which need every answer. */
  recounting: Lookup
}

export interface LookupConfig {
  /** A MaxMind-format database; undefined for the one that comes with the project. */
  geoDatabase?: string
  /** Asked instead of a database. */
  geoService?: GeoServiceConfig
}

/** Where a worker's countries come from, as configured. */
export async function openLookups({ geoDatabase, geoService }: LookupConfig): Promise<Lookups> {
  if (!geoService) {
    const locate = await openCountryDatabase(geoDatabase)
    return { polling: { locate }, recounting: { locate } }
  }
  const { url, key, rate, onError } = geoService
  if (key === undefined)
    throw new UserError('GEO_PROVIDER is ip2location, which needs a key: set IP_CODING_KEY.')
  const service = new Ip2Location(url, key)
  const remote = new RemoteLookup(address => service.country(address), { rate }, logger)
  const recounting = { locate: remote.locate, service: remote }
  if (onError === 'wait') return { polling: recounting, recounting }
  const fallback = new FallbackLookup(remote, logger)
  return { polling: { locate: fallback.locate, service: fallback }, recounting }
}
