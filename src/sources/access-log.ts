const QUOTED = String.raw`"((?:[^"\\]|\\.)*)"`

/** `%h %l %u [%t] "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`, optionally with more fields. */
const COMBINED = new RegExp(
  String.raw`^(\S+) \S+ .*? \[([^\]]+)\] ${QUOTED} \d{3} (?:\d+|-) ${QUOTED} ${QUOTED}(?: .*)?$`,
)
const TIME = /^(\d{2})\/([A-Z][a-z]{2})\/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-]\d{2})(\d{2})$/
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** The site that a log belongs to; the combined format does not contain it. */
export interface Site {
  host: string
  scheme: 'http' | 'https'
}

/** A web event, in the order of its JSON. */
export interface LoggedEvent {
  url: string
  referrer: string
  user_agent: string
  host: string
  ip: string
  headers: Record<string, string>
  /** ISO 8601 with the log's own offset. */
  event_time: string
}

/**
 * Parses a line in the combined format of Apache and nginx; returns undefined for any other line.
 *
 * A missing referrer stays `-`. A request without a path, as from a client that does not speak HTTP, is a visit to `/`.
 */
export function parseAccessLogLine(line: string, site: Site): LoggedEvent | undefined {
  const match = COMBINED.exec(line)
  if (!match) return undefined
  const [, ip, time, request, referrer, userAgent] = match as unknown as [string, ...string[]]
  const eventTime = isoTime(time!)
  if (eventTime === undefined) return undefined
  return {
    url: absoluteUrl(unescape(request!), site),
    referrer: unescape(referrer!),
    user_agent: unescape(userAgent!),
    host: site.host,
    ip: ip!,
    headers: {},
    event_time: eventTime,
  }
}

function absoluteUrl(request: string, { scheme, host }: Site): string {
  const target = request.split(' ')[1] ?? ''
  if (/^https?:\/\//i.test(target)) return target
  return `${scheme}://${host}${target.startsWith('/') ? target : '/'}`
}

/** `17/May/2015:10:05:03 +0200` as `2015-05-17T10:05:03+02:00`; undefined for a time that does not exist. */
function isoTime(time: string): string | undefined {
  const match = TIME.exec(time)
  if (!match) return undefined
  const [, day, monthName, year, hour, minute, second, offsetHours, offsetMinutes] = match
  const month = String(MONTHS.indexOf(monthName!) + 1).padStart(2, '0')
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}`
  const instant = Date.parse(`${local}Z`)
  // Date.parse turns 30 February into 2 March.
  if (Number.isNaN(instant) || !new Date(instant).toISOString().startsWith(local)) return undefined
  return `${local}${offsetHours}:${offsetMinutes}`
}

const CONTROL: Record<string, string> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }

/** Decodes `\"`, `\\`, C's control characters, and `\xhh`, which is a byte of UTF-8. */
function unescape(text: string): string {
  if (!text.includes('\\')) return text
  return text.replace(/((?:\\x[\dA-Fa-f]{2})+)|\\(.)/g, (_, bytes: string | undefined, character: string) =>
    bytes === undefined
      ? (CONTROL[character] ?? character)
      : Buffer.from(bytes.replaceAll('\\x', ''), 'hex').toString('utf8'),
  )
}
