const numbers = new Intl.NumberFormat('en-US')
const compactNumbers = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 })
const percents = new Intl.NumberFormat('en-US', { style: 'percent', maximumFractionDigits: 1 })
const countries = new Intl.DisplayNames('en', { type: 'region', fallback: 'none' })

export const count = (number: number) => numbers.format(number)
export const compact = (number: number) => compactNumbers.format(number)

export const sum = <T>(items: T[], number: (item: T) => number) =>
  items.reduce((total, item) => total + number(item), 0)

export function share(part: number, whole: number): string {
  if (whole === 0 || part === 0) return '0%'
  return part / whole < 0.001 ? '<0.1%' : percents.format(part / whole)
}

/** Shows invisible characters, and those that change the text direction, by their code points. */
export function escapeInvisible(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu,
    character => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  )
}

export const referrerName = (referrer: string) => (referrer === '' ? 'none' : escapeInvisible(referrer))

export function countryName(code: string): string {
  if (!/^[A-Z]{2}$/.test(code)) return code === '??' ? 'Unknown' : escapeInvisible(code)
  const name = countries.of(code)
  return name === undefined ? code : `${name} (${code})`
}

/** `14:05:10`, in UTC. */
export const timeOfDay = (time: number) => new Date(time).toISOString().slice(11, 19)
/** `2026-01-31 14:05:10`, in UTC. */
export const dateTime = (time: number) => new Date(time).toISOString().slice(0, 19).replace('T', ' ')

/** A duration in its two largest units, such as `3 min 5 s`. */
export function roundedDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return `${hours} h ${minutes % 60} min`
  return `${count(Math.floor(hours / 24))} days`
}
