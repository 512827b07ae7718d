/** A loop copies less than this faster than a call does. */
const SHORT = 48

/** Copies `length` bytes of `input` from `at` on to `output`. */
export function copyLiterals(input: Buffer, at: number, length: number, output: Buffer, to: number): void {
  if (length > SHORT) input.copy(output, to, at, at + length)
  else for (const end = at + length; at < end;) output[to++] = input[at++]!
}

/** Repeats `length` bytes of `output` that begin `distance` before `to`. A longer match repeats its own start. */
export function copyMatch(output: Buffer, distance: number, length: number, to: number): void {
  let at = to - distance
  if (length > SHORT && distance >= length) output.copyWithin(to, at, at + length)
  else for (const end = to + length; to < end;) output[to++] = output[at++]!
}
