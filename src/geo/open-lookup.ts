import { UserError } from '../cli/errors'
import type { Config } from '../config'
import { logger } from '../log'
import { openCountryDatabase, type LocateCountry } from './country'
import { Ip2Location } from './ip2location'
import { RemoteLookup } from './remote-lookup'

/** Where a worker's countries come from, as configured; `remote` only where it is a service. */
export async function openLookup({
  geoDatabase,
  geoService,
}: Pick<Config, 'geoDatabase' | 'geoService'>): Promise<{ locate: LocateCountry; remote?: RemoteLookup }> {
  if (!geoService) return { locate: await openCountryDatabase(geoDatabase) }
  const { url, key, rate } = geoService
  if (key === undefined)
    throw new UserError('GEO_PROVIDER is ip2location, which needs a key: set IP_CODING_KEY.')
  const service = new Ip2Location(url, key)
  const remote = new RemoteLookup(address => service.country(address), { rate }, logger)
  return { locate: remote.locate, remote }
}
