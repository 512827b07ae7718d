import type { Config } from '../../config'
import { UserError } from '../../errors'
import { openLookups } from '../../geo/open-lookup'
import { countryDatabaseAge } from '../../geo/country'
import type { Check } from './finding'

const DAY = 86_400_000
/** Addresses change hands; databases of countries are published every month or more often. */
const OLD = 120 * DAY
/** An address that every service knows. */
const KNOWN = '8.8.8.8'

export function checkGeo(config: Config): Check {
  return async findings => {
    const { service } = (await openLookups(config)).recounting
    if (service) {
      await service.resolve([KNOWN], AbortSignal.timeout(30_000)).catch((error: unknown) => {
        throw new UserError(error instanceof Error ? error.message : String(error))
      })
      return findings.ok('The look-up service answers.')
    }
    const days = Math.floor((await countryDatabaseAge(config.geoDatabase)) / DAY)
    findings.check(
      days * DAY > OLD,
      `The country database is ${days} days old: bring it up to date, or set GEO_DATABASE.`,
      `The country database is ${days} days old.`,
    )
  }
}
