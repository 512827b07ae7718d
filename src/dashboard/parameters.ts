import { z } from 'zod'
import { RANGE_NAMES, type RequestedRange } from './time-range'

/** A request that the server refuses; the page shows the message. */
export class RequestError extends Error {
  override name = 'RequestError'

  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message)
  }
}

const MAX_HOST_LENGTH = 4_096
/** Both Postgres and Date can represent these. */
const [MIN_TIME, MAX_TIME] = [Date.UTC(1970), Date.UTC(9999, 11, 31)]

const instant = z.iso
  .datetime({ offset: true, error: 'is not a time such as 2026-01-31T12:00:00Z' })
  .transform(text => Date.parse(text))
  .refine(time => time >= MIN_TIME && time <= MAX_TIME, { error: 'is not a time from 1970 to 9999' })

const selection = z
  .strictObject({
    range: z.enum(RANGE_NAMES, { error: `is not one of ${RANGE_NAMES.join(', ')}` }).optional(),
    from: instant.optional(),
    to: instant.optional(),
    host: z
      .string()
      .max(MAX_HOST_LENGTH, { error: `is longer than ${MAX_HOST_LENGTH} characters` })
      .refine(text => !text.includes('\0'), {
        error: 'contains a NUL character, which Postgres cannot store',
      })
      .optional(),
  })
  .refine(({ from, to }) => (from === undefined) === (to === undefined), { error: 'give both from and to' })
  .refine(({ range, from }) => range === undefined || from === undefined, {
    error: 'give range, or from and to, not all three',
  })
  .refine(({ from, to }) => from === undefined || to === undefined || from < to, {
    error: 'from is not before to',
  })
  .transform(({ range, from, to, host }): Selection => ({
    host,
    range: from !== undefined && to !== undefined ? { from, to } : range && { name: range },
  }))

export interface Selection {
  /** Undefined for the default of the window size. */
  range: RequestedRange | undefined
  /** Undefined for all hosts. */
  host?: string | undefined
}

const parser =
  <T>(schema: z.ZodType<T>) =>
  (query: URLSearchParams): T => {
    const names = [...query.keys()]
    const repeated = names.find((name, i) => names.indexOf(name) !== i)
    if (repeated !== undefined) throw new RequestError(400, `${truncate(repeated)}: is given twice`)
    const result = schema.safeParse(Object.fromEntries(query))
    if (result.success) return result.data
    const problems = result.error.issues.map(({ path, message }) => truncate([...path, message].join(': ')))
    throw new RequestError(400, problems.join('; '))
  }

const truncate = (text: string) => (text.length > 200 ? `${text.slice(0, 200)}…` : text)

export const parseSelection = parser(selection)
export const parsePage = parser(z.strictObject({ before: instant.optional() }))
export const parseWindow = parser(z.strictObject({ start: instant }))
export const parseNone = parser(z.strictObject({}))
