import { hitsOfCountry, type ColumnarCounts } from './columnar'

/** Stands for the country of an event whose look-up failed and was not waited for, until its counts leave the poller. */
export const UNLOCATED = '(unlocated)'

/** What readers see of it, as of an address that belongs to no country. */
export const UNKNOWN_COUNTRY = '??'

/** Counts as they are published, and how many hits of them a look-up that succeeds might place elsewhere. */
export function publishable(counts: ColumnarCounts): { counts: ColumnarCounts; unlocated: number } {
  const unlocated = hitsOfCountry(counts, UNLOCATED)
  if (unlocated === 0) return { counts, unlocated }
  const countries = counts.countries.map(country => (country === UNLOCATED ? UNKNOWN_COUNTRY : country))
  return { counts: { ...counts, countries }, unlocated }
}
