import { RANGES, type RangeName } from '../span'

/** What a person has chosen to look at. It is in the page's address, so that it can be kept, sent and gone back to. */
export interface Choice {
  /** Undefined for what suits the length of the windows. */
  range?: RangeName | undefined
  from?: number | undefined
  to?: number | undefined
  host?: string | undefined
  /** Start of a window. */
  window?: number | undefined
}

export function readChoice(query: URLSearchParams): Choice {
  const time = (name: string) => {
    const value = Date.parse(query.get(name) ?? '')
    return Number.isNaN(value) ? undefined : value
  }
  const named = query.get('range')
  const range = named !== null && Object.hasOwn(RANGES, named) ? (named as RangeName) : undefined
  const [from, to] = [time('from'), time('to')]
  const host = query.get('host') ?? undefined
  const window = time('window')
  if (from !== undefined && to !== undefined && from < to) return { from, to, host, window }
  return { range, host, window }
}

/** What the server is asked for, of the range and host alone. */
export function selectionQuery({ range, from, to, host }: Choice): URLSearchParams {
  const query = new URLSearchParams()
  if (range !== undefined) query.set('range', range)
  if (from !== undefined && to !== undefined) {
    query.set('from', new Date(from).toISOString())
    query.set('to', new Date(to).toISOString())
  }
  if (host !== undefined) query.set('host', host)
  return query
}

export function choiceAddress(choice: Choice): string {
  const query = selectionQuery(choice)
  if (choice.window !== undefined) query.set('window', new Date(choice.window).toISOString())
  const text = query.toString()
  return text === '' ? '/' : `/?${text}`
}
