import { isNativeError } from 'node:util/types'

/** Something a person can mend: its message is one line that says what is wrong and what to do. */
export class UserError extends Error {
  override name = 'UserError'
}

/** The error and its causes, the outermost first. */
export function causes(error: unknown): Error[] {
  const chain: Error[] = []
  for (let next = error; isError(next) && !chain.includes(next); next = next.cause) chain.push(next)
  return chain
}

function isError(value: unknown): value is Error {
  return value instanceof Error || isNativeError(value)
}
