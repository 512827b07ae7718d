/** A bug in this program: something that always holds does not. No input, however malformed or stale, may cause it. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/**
 * Throws an {@link InvariantError} unless the condition holds. A workflow that throws it fails its task, which Temporal
 * retries until a fixed release is deployed; an activity fails its attempt.
 */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(`Invariant violated: ${message}. This is a bug; please report it.`)
}
