import { randomBytes } from 'node:crypto'
import type { HashKey } from '../core/counts/half-sip-hash'

const random = randomBytes(16)

/** One for the life of the process. */
export const hashKey: HashKey = [
  random.readInt32LE(0),
  random.readInt32LE(4),
  random.readInt32LE(8),
  random.readInt32LE(12),
]
