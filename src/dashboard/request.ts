import { z } from 'zod'
import { RANGES, type TimeRange, type RangeName } from './span'

/** Parameters that are not as they should be; the message says which and why. */
export class BadRequestError extends Error {
  override name = 'BadRequestError'
}

const MOST_OF_A_NAME = 4_096
/** What both Postgres and a Date can hold. */
const YEARS = { least: Date.UTC(1970), most: Date.UTC(9999, 11, 31) }

const instant = z.iso
  .datetime({ offset: true, error: 'is not a time such as 2026-01-31T12:00:00Z' })
  .transform(text => Date.parse(text))
  .refine(time => time >= YEARS.least && time <= YEARS.most, { error: 'is not a time from 1970 to 9999' })

const rangeName = z.enum(Object.keys(RANGES) as [RangeName, ...RangeName[]], {
  error: `is none of ${Object.keys(RANGES).join(', ')}`,
})

const host = z
  .string()
  .max(MOST_OF_A_NAME, { error: `is longer than ${MOST_OF_A_NAME} characters` })
  // Postgres has no text with a zero character in it.
  .refine(text => !text.includes('\0'), { error: 'holds a zero character' })

const selection = z
  .strictObject({
    range: rangeName.optional(),
    from: instant.optional(),
    to: instant.optional(),
    host: host.optional(),
  })
  .transform(({ range, from, to, host }, context): Selection => {
    const only = host === undefined ? {} : { host }
    if (from === undefined && to === undefined)
      return { range: range === undefined ? undefined : { name: range }, ...only }
    const refuse = (message: string) => {
      context.addIssue({ code: 'custom', message })
      return z.NEVER
    }
    if (range !== undefined) return refuse('give range, or from and to')
    if (from === undefined || to === undefined) return refuse('give both from and to')
    if (from >= to) return refuse('from is not before to')
    return { range: { from, to }, ...only }
  })

export interface Selection {
  /** Undefined for what suits the length of the windows. */
  range: TimeRange | undefined
  host?: string
}

const page = z.strictObject({ before: instant.optional() })
const one = z.strictObject({ start: instant })

export const parseSelection = (query: URLSearchParams): Selection => parse(selection, query)
export const parsePage = (query: URLSearchParams): { before?: number | undefined } => parse(page, query)
export const parseStart = (query: URLSearchParams): number => parse(one, query).start

/** Parameters that no request has. */
export const parseNothing = (query: URLSearchParams): object => parse(z.strictObject({}), query)

function parse<T>(schema: z.ZodType<T>, query: URLSearchParams): T {
  const names = [...query.keys()]
  const repeated = names.find((name, i) => names.indexOf(name) !== i)
  if (repeated !== undefined) throw new BadRequestError(`${cut(repeated)}: is given twice`)
  const result = schema.safeParse(Object.fromEntries(query))
  if (result.success) return result.data
  throw new BadRequestError(
    result.error.issues.map(({ path, message }) => cut([...path, message].join(': '))).join('; '),
  )
}

const cut = (text: string) => (text.length > 200 ? `${text.slice(0, 200)}…` : text)
