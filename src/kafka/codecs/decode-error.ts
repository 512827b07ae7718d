/** Compressed records cannot be decoded. The message says what is wrong with their batch, such as `is corrupt`. */
export class DecodeError extends Error {
  override name = 'DecodeError'
}

export function corrupt(): DecodeError {
  return new DecodeError('is corrupt')
}

export function tooLarge(limit: number): DecodeError {
  return new DecodeError(`expands to more than ${limit >> 20} MiB`)
}
