import { isNativeError } from 'node:util/types'

/** An error that a person can fix. Its message is one line: what failed, and what to do. */
export class UserError extends Error {
  override name = 'UserError'
}

/** The error and its causes, outermost first. */
export function causes(error: unknown): Error[] {
  const chain: Error[] = []
  for (let next = error; isError(next) && !chain.includes(next); next = next.cause) chain.push(next)
  return chain
}

export function messageOf(error: unknown): string {
  return isError(error) ? error.message : String(error)
}

export function firstLine(error: unknown): string {
  return messageOf(error).split('\n')[0]!
}

/** The first line without its full stop, for a sentence that goes on. */
export function reasonOf(error: unknown): string {
  return firstLine(error).replace(/[.\s]+$/, '')
}

/** `instanceof` alone misses errors that another realm created, such as those of native modules under Jest. */
function isError(value: unknown): value is Error {
  return value instanceof Error || isNativeError(value)
}
