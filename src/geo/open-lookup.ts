import { UserError } from '../errors'
import { logger } from '../log'
import { openCountryDatabase } from './country'
import { FallbackLookup } from './fallback-lookup'
import { Ip2Location, type GeoServiceConfig } from './ip2location'
import type { Lookup } from './lookup'
import { RemoteLookup } from './remote-lookup'

export interface Lookups {
  /** For pollers. May count events as unknown while the service is down. */
  polling: Lookup
  /** For replay, verification and repair, which need every answer. */
  recounting: Lookup
}

export interface LookupConfig {
  /** A MaxMind-format database; undefined for the bundled one. */
  geoDatabase?: string
  /** Replaces the database. */
  geoService?: GeoServiceConfig
}

export async function openLookups({ geoDatabase, geoService }: LookupConfig): Promise<Lookups> {
  if (!geoService) {
    const locate = await openCountryDatabase(geoDatabase)
    return { polling: { locate }, recounting: { locate } }
  }
  const { url, key, rate, onError } = geoService
  if (key === undefined) throw new UserError('GEO_PROVIDER=ip2location needs a key: set IP_CODING_KEY.')
  const service = new Ip2Location(url, key)
  const remote = new RemoteLookup(address => service.country(address), { rate }, logger)
  const recounting = { locate: remote.locate, service: remote }
  if (onError === 'wait') return { polling: recounting, recounting }
  const fallback = new FallbackLookup(remote, logger)
  return { polling: { locate: fallback.locate, service: fallback }, recounting }
}
