import { copyLiterals, copyMatch } from './copy'
import { corrupt, tooLarge } from './decode-error'

/** Begins xerial's format, which Java's producer writes: blocks with their lengths. */
const XERIAL_MAGIC = Buffer.from('\x82SNAPPY\0', 'latin1')
/** The magic and two version numbers. */
const XERIAL_HEADER = 16

/** Decodes Snappy in xerial's format, or a single block, which librdkafka writes. */
export function decodeSnappy(input: Buffer, limit: number): Buffer {
  const blocks = hasMagic(input, 0) ? xerialBlocks(input) : [input]
  const headers = blocks.map(readHeader)
  const total = headers.reduce((sum, { size }) => sum + size, 0)
  if (total > limit) throw tooLarge(limit)
  const output = Buffer.allocUnsafeSlow(total)
  let to = 0
  for (const [i, { size, at }] of headers.entries()) {
    decodeBlock(blocks[i]!, at, output, to, to + size)
    to += size
  }
  return output
}

function xerialBlocks(input: Buffer): Buffer[] {
  const blocks: Buffer[] = []
  let at = 0
  while (at < input.length) {
    // Concatenated streams repeat the header.
    if (hasMagic(input, at)) at += XERIAL_HEADER
    else {
      if (at + 4 > input.length) throw corrupt()
      const start = at + 4
      at = start + input.readUInt32BE(at)
      blocks.push(input.subarray(start, at))
    }
  }
  if (at > input.length) throw corrupt()
  return blocks
}

function hasMagic(input: Buffer, at: number): boolean {
  return XERIAL_MAGIC.equals(input.subarray(at, at + XERIAL_MAGIC.length))
}

/** A block begins with its decoded size, seven bits per byte, lowest first. Its elements begin at `at`. */
function readHeader(block: Buffer): { size: number; at: number } {
  let size = 0
  for (let at = 0; at < Math.min(block.length, 5); at++) {
    const byte = block[at]!
    size += (byte & 0x7f) * 2 ** (7 * at)
    if (byte < 0x80) return { size, at: at + 1 }
  }
  throw corrupt()
}

/** Writes a block's literals, and its copies of what it has written before, to `[start, end)`. */
function decodeBlock(input: Buffer, at: number, output: Buffer, start: number, end: number): void {
  let to = start
  while (at < input.length) {
    const tag = input[at++]!
    const kind = tag & 3
    if (kind === 0) {
      let length = (tag >> 2) + 1
      if (length > 60) {
        const bytes = length - 60
        if (at + bytes > input.length) throw corrupt()
        length = input.readUIntLE(at, bytes) + 1
        at += bytes
      }
      if (at + length > input.length || to + length > end) throw corrupt()
      copyLiterals(input, at, length, output, to)
      at += length
      to += length
    } else {
      const bytes = kind === 3 ? 4 : kind
      if (at + bytes > input.length) throw corrupt()
      let distance: number
      if (kind === 1) distance = ((tag & 0xe0) << 3) | input[at]!
      else if (kind === 2) distance = input[at]! | (input[at + 1]! << 8)
      else distance = input.readUInt32LE(at)
      const length = kind === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1
      at += bytes
      if (distance === 0 || distance > to - start || to + length > end) throw corrupt()
      copyMatch(output, distance, length, to)
      to += length
    }
  }
  if (to !== end) throw corrupt()
}
