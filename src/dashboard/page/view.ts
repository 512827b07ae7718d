import { RANGE_NAMES, type RangeName } from '../time-range'

/** What the page shows. The URL contains it, so that it can be bookmarked and shared. */
export interface View {
  /** Undefined for the default of the window size, or if `from` and `to` are set. */
  range?: RangeName | undefined
  from?: number | undefined
  to?: number | undefined
  host?: string | undefined
  /** Start of the window in the detail panel. */
  window?: number | undefined
}

/** Ignores invalid parameters. */
export function parseView(query: URLSearchParams): View {
  const time = (name: string) => {
    const value = Date.parse(query.get(name) ?? '')
    return Number.isNaN(value) ? undefined : value
  }
  const [from, to, window] = [time('from'), time('to'), time('window')]
  const host = query.get('host') ?? undefined
  if (from !== undefined && to !== undefined && from < to) return { from, to, host, window }
  return { range: RANGE_NAMES.find(name => name === query.get('range')), host, window }
}

/** Query parameters; numbers are times, and undefined values are left out. */
export function toQuery(values: Record<string, string | number | undefined>): URLSearchParams {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(values))
    if (value !== undefined)
      query.set(name, typeof value === 'number' ? new Date(value).toISOString() : value)
  return query
}

export const selectionQuery = ({ range, from, to, host }: View) => toQuery({ range, from, to, host })

export function viewUrl({ range, from, to, host, window }: View): string {
  const query = toQuery({ range, from, to, host, window }).toString()
  return query === '' ? '/' : `/?${query}`
}
