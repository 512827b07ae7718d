import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { CompressionCodecs, CompressionTypes, type KafkaMessage } from 'kafkajs'
import { counted, grouped } from '../../core/numbers'
import { UserError } from '../../errors'
import { DecodeError, tooLarge } from './decode-error'
import { decodeLz4 } from './lz4'
import { areRecords, emptyRecords, headerOf } from './record-batch'
import { decodeSnappy } from './snappy'
import { decodeZstd } from './zstd'

/** What one batch may expand to, bytes. Producers send at most 1 MB in a batch unless they are configured otherwise. */
const MAX_DECODED = 128 << 20
/** kafkajs passes the records of a batch as the arguments of one call; from about 125,000 on they overflow the stack. */
const MAX_RECORDS = 120_000

type Decode = (input: Buffer, limit: number) => Buffer | Promise<Buffer>

const gunzipped = promisify(gunzip)
const decodeGzip: Decode = (input, maxOutputLength) => gunzipped(input, { maxOutputLength })
const refuse: Decode = () => {
  throw new DecodeError('has an unknown codec')
}

const { GZIP, Snappy, LZ4, ZSTD } = CompressionTypes
/** By the number in a batch's attributes. */
const DECODERS: [number, string, Decode][] = [
  [GZIP, 'gzip', decodeGzip],
  [Snappy, 'snappy', decodeSnappy],
  [LZ4, 'lz4', decodeLz4],
  [ZSTD, 'zstd', decodeZstd],
  // kafkajs would take the records of an unknown codec for uncompressed ones.
  ...[5, 6, 7].map((codec): [number, string, Decode] => [codec, `codec ${codec}`, refuse]),
]

/** The values of a topic's `compression.type` with which everything can be read. */
export const READABLE_COMPRESSION = ['producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd']

/** Registers all of Kafka's codecs with kafkajs, for reading. It writes only gzip. */
export function registerCodecs(): void {
  const codecs: Record<number, () => object> = CompressionCodecs
  const gzip = CompressionCodecs[GZIP]() as { compress: unknown }
  for (const [codec, name, decode] of DECODERS) {
    const decompress = (records: Buffer) => decodeBatch(codec, name, decode, records)
    const compress = () => Promise.reject(new UserError(`${name} can only be read.`))
    codecs[codec] = () => ({ compress: name === 'gzip' ? gzip.compress : compress, decompress })
  }
}

/** A batch that cannot be decoded. */
export interface UnreadableBatch {
  partition: number
  /** Of the first record. */
  offset: number
  codec: string
  /** Says about the batch what is wrong, such as `is corrupt`. */
  problem: string
}

export function describeUnreadable({ partition, offset, codec, problem }: UnreadableBatch): string {
  return `partition ${partition} from offset ${offset} on: the batch there (${codec}) ${problem}`
}

/** By the memory of the records that stand for it. */
const unreadable = new WeakMap<ArrayBufferLike, Omit<UnreadableBatch, 'partition'>>()

/** The batch that could not be decoded, if the message stands for a record of one. */
export function unreadableBatch(partition: number, { value }: KafkaMessage): UnreadableBatch | undefined {
  const batch = value?.length === 0 ? unreadable.get(value.buffer) : undefined
  return batch && { partition, ...batch }
}

/**
 * Decodes a batch's records. A batch that cannot be decoded becomes records without content, for {@link unreadableBatch}:
 * an error would end the fetch of all partitions, and would not say which one has the batch.
 */
async function decodeBatch(codec: number, name: string, decode: Decode, records: Buffer): Promise<Buffer> {
  const header = headerOf(records, codec)
  try {
    if (header && !header.isIntact) throw new DecodeError('is corrupt (checksum)')
    if (header && header.records > MAX_RECORDS)
      throw new DecodeError(`has ${counted(header.records, 'record')}, more than ${grouped(MAX_RECORDS)}`)
    const decoded = await decode(records, MAX_DECODED)
    if (header && !areRecords(decoded, header.records)) throw new DecodeError('is corrupt (records)')
    return decoded
  } catch (error) {
    const problem = problemOf(error)
    if (!header || header.records > MAX_RECORDS) {
      const offset = header ? ` at offset ${header.firstOffset}` : ''
      throw new DecodeError(`A batch${offset} (${name}) ${problem}.`)
    }
    const substitute = emptyRecords(header)
    unreadable.set(substitute.buffer, { offset: header.firstOffset, codec: name, problem })
    return substitute
  }
}

function problemOf(error: unknown): string {
  if (error instanceof DecodeError) return error.message
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge(MAX_DECODED).message : `is corrupt (${message})`
}
