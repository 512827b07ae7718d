import { copyLiterals, copyMatch } from './copy'
import { corrupt, tooLarge } from './decode-error'

const MAGIC = 0x184d2204
/** The last four bits can be anything. */
const SKIPPABLE_MAGIC = 0x184d2a50
const MIN_MATCH = 4

/** Flags of a frame. */
const HAS_BLOCK_CHECKSUMS = 0x10
const HAS_CONTENT_SIZE = 0x08
const HAS_CONTENT_CHECKSUM = 0x04
const HAS_DICTIONARY = 0x01

/** Decodes LZ4's frame format. Checksums are skipped. */
export function decodeLz4(input: Buffer, limit: number): Buffer {
  const output = new Output(Math.min(limit, input.length * 4))
  let at = 0
  while (at < input.length) {
    const magic = uint32(input, at)
    if ((magic & ~0xf) >>> 0 === SKIPPABLE_MAGIC) at += 8 + uint32(input, at + 4)
    else if (magic === MAGIC) at = decodeFrame(input, at + 4, output, limit)
    else throw corrupt()
  }
  if (at > input.length) throw corrupt()
  return output.bytes.subarray(0, output.length)
}

/** What is decoded so far, in a buffer that grows. */
class Output {
  bytes: Buffer
  length = 0

  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity)
  }

  makeRoom(size: number): void {
    const { bytes, length } = this
    if (length + size <= bytes.length) return
    this.bytes = Buffer.allocUnsafeSlow(Math.max(length + size, bytes.length * 2))
    bytes.copy(this.bytes, 0, 0, length)
  }
}

/** Returns where the frame ends. */
function decodeFrame(input: Buffer, at: number, output: Output, limit: number): number {
  if (at + 3 > input.length) throw corrupt()
  const flags = input[at]!
  const maxBlock = 1 << (8 + 2 * ((input[at + 1]! >> 4) & 7))
  if (flags >> 6 !== 1 || flags & HAS_DICTIONARY || maxBlock < 64 << 10) throw corrupt()
  // The header ends with a checksum.
  at += flags & HAS_CONTENT_SIZE ? 11 : 3
  const start = output.length
  for (;;) {
    const header = uint32(input, at)
    at += 4
    if (header === 0) return flags & HAS_CONTENT_CHECKSUM ? at + 4 : at
    const size = header & 0x7fffffff
    if (size > maxBlock || at + size > input.length) throw corrupt()
    const block = input.subarray(at, at + size)
    output.makeRoom(maxBlock)
    const isStored = header >>> 31 === 1
    if (isStored) output.length += block.copy(output.bytes, output.length)
    else output.length = decodeBlock(block, output.bytes, output.length, start, output.length + maxBlock)
    if (output.length > limit) throw tooLarge(limit)
    at += flags & HAS_BLOCK_CHECKSUMS ? size + 4 : size
  }
}

/**
 * Writes a block's literals, and its matches in what the frame has written since `start`, from `to` on, at most to `end`.
 * Returns where it stopped.
 */
function decodeBlock(input: Buffer, output: Buffer, to: number, start: number, end: number): number {
  let at = 0
  for (;;) {
    const token = input[at++]!
    let literals = token >> 4
    if (literals === 15) {
      const lengthEnd = endOfLength(input, at)
      literals += lengthAt(input, at, lengthEnd)
      at = lengthEnd
    }
    if (at + literals > input.length || to + literals > end) throw corrupt()
    copyLiterals(input, at, literals, output, to)
    at += literals
    to += literals
    // The last sequence has no match.
    if (at === input.length) return to
    if (at + 2 > input.length) throw corrupt()
    const distance = input[at]! | (input[at + 1]! << 8)
    at += 2
    let length = token & 15
    if (length === 15) {
      const lengthEnd = endOfLength(input, at)
      length += lengthAt(input, at, lengthEnd)
      at = lengthEnd
    }
    length += MIN_MATCH
    if (distance === 0 || distance > to - start || to + length > end) throw corrupt()
    copyMatch(output, distance, length, to)
    to += length
  }
}

/** A long length goes on in bytes that are added up, until one is less than 255. Returns where they end. */
function endOfLength(input: Buffer, at: number): number {
  while (input[at] === 255) at++
  return at + 1
}

function lengthAt(input: Buffer, at: number, end: number): number {
  if (end > input.length) throw corrupt()
  return (end - at - 1) * 255 + input[end - 1]!
}

function uint32(input: Buffer, at: number): number {
  if (at + 4 > input.length) throw corrupt()
  return input.readUInt32LE(at)
}
