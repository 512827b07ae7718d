import { hitsOfCountry, type ColumnarCounts } from './columnar'

/** Country of an event whose lookup failed; used only inside the poller. */
export const UNLOCATED = '(unlocated)'

/** Published country of an address that belongs to none or whose lookup failed. */
export const UNKNOWN_COUNTRY = '??'

/** The counts with {@link UNLOCATED} replaced, and how many hits a repeated lookup could still assign to a country. */
export function publishable(counts: ColumnarCounts): { counts: ColumnarCounts; unlocated: number } {
  const unlocated = hitsOfCountry(counts, UNLOCATED)
  if (unlocated === 0) return { counts, unlocated }
  const countries = counts.countries.map(country => (country === UNLOCATED ? UNKNOWN_COUNTRY : country))
  return { counts: { ...counts, countries }, unlocated }
}
