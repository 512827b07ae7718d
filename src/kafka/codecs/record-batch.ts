import { crc32c } from './crc32c'

/** Where fields of a batch's header are. */
const LENGTH = 8
const MAGIC = 16
const CRC = 17
const ATTRIBUTES = 21
const LAST_OFFSET_DELTA = 23
const RECORD_COUNT = 57
const HEADER_SIZE = 61
const CODEC_MASK = 7

/** The header of a batch in Kafka's current format (magic 2). */
export interface BatchHeader {
  firstOffset: number
  lastOffsetDelta: number
  records: number
  isIntact: boolean
}

/**
 * The header in front of a batch's compressed records. kafkajs passes a codec only the records, but as a view of the
 * response, where the header precedes them.
 *
 * @returns undefined if there is no such header, as in the older formats
 */
export function headerOf(records: Buffer, codec: number): BatchHeader | undefined {
  const start = records.byteOffset - HEADER_SIZE
  if (start < 0) return undefined
  const batch = Buffer.from(records.buffer, start, HEADER_SIZE + records.length)
  const isHeader =
    batch[MAGIC] === 2 &&
    batch.readInt32BE(LENGTH) === batch.length - LENGTH - 4 &&
    (batch.readInt16BE(ATTRIBUTES) & CODEC_MASK) === codec
  if (!isHeader) return undefined
  return {
    firstOffset: Number(batch.readBigInt64BE(0)),
    lastOffsetDelta: batch.readInt32BE(LAST_OFFSET_DELTA),
    records: batch.readInt32BE(RECORD_COUNT),
    isIntact: batch.readUInt32BE(CRC) === crc32c(batch.subarray(ATTRIBUTES)),
  }
}

/** Whether the decoded bytes are this number of records, each with its length in front. kafkajs does not check it. */
export function areRecords(bytes: Buffer, count: number): boolean {
  let at = 0
  for (let i = 0; i < count; i++) {
    let size = 0
    let byte: number
    let shift = 0
    do {
      if (at === bytes.length) return false
      byte = bytes[at++]!
      size |= (byte & 0x7f) << shift
      shift += 7
    } while (byte >= 0x80)
    // An odd number stands for a negative one.
    if (size & 1) return false
    at += size >>> 1
    if (at > bytes.length) return false
  }
  return at === bytes.length
}

/** As many records without a value as the batch has, all at its last offset. */
export function emptyRecords({ records, lastOffsetDelta }: BatchHeader): Buffer {
  const offset: number[] = []
  let rest = lastOffsetDelta * 2
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) offset.push((rest % 0x80) | 0x80)
  offset.push(rest)
  // Attributes, timestamp, offset, no key, an empty value, no headers.
  const body = [0, 0, ...offset, 1, 0, 0]
  return Buffer.alloc((body.length + 1) * records, Buffer.from([body.length * 2, ...body]))
}
