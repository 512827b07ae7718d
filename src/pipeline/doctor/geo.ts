import type { Config } from '../../config'
import { counted } from '../../core/numbers'
import { UserError } from '../../errors'
import { openLookups } from '../../geo/open-lookup'
import { countryDatabaseAge } from '../../geo/country'
import type { Check } from './finding'

const DAY = 86_400_000
/** Country databases are published at least monthly. */
const MAX_DAYS = 120
/** Google's public DNS, which every lookup service knows. */
const KNOWN_ADDRESS = '8.8.8.8'

export function checkGeo(config: Config): Check {
  return async findings => {
    const { service } = (await openLookups(config)).recounting
    if (service) {
      await service.resolve([KNOWN_ADDRESS], AbortSignal.timeout(30_000)).catch((error: unknown) => {
        throw new UserError(error instanceof Error ? error.message : String(error))
      })
      return findings.ok('The lookup service answers.')
    }
    const days = Math.floor((await countryDatabaseAge(config.geoDatabase)) / DAY)
    const age = `The country database is ${counted(days, 'day')} old`
    findings.check(days > MAX_DAYS, `${age}: update it, or set GEO_DATABASE.`, `${age}.`)
  }
}
