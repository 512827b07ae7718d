import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { KafkaMessage } from 'kafkajs'
import { registerCodecs, unreadableBatch } from '../../src/kafka/codecs'
import { crc32c } from '../../src/kafka/codecs/crc32c'
import { decodeLz4 } from '../../src/kafka/codecs/lz4'
import { decodeSnappy } from '../../src/kafka/codecs/snappy'
import { decodeWithFzstd, decodeZstd } from '../../src/kafka/codecs/zstd'

/** Parts of kafkajs without types, which decode the batches of a partition in a response. */
const load = createRequire(__filename)
const Decoder = load('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => object
const decodeMessages = load('kafkajs/src/protocol/requests/fetch/v4/decodeMessages') as (
  decoder: object,
) => Promise<KafkaMessage[]>

const LIMIT = 16 << 20
const DECODERS = { snappy: decodeSnappy, lz4: decodeLz4, zstd: decodeZstd, fzstd: decodeWithFzstd }
const NAMES = Object.keys(DECODERS) as (keyof typeof DECODERS)[]

/** What Vectors.java compressed with the codecs of Kafka's own producer. */
const TEXTS = {
  empty: Buffer.alloc(0),
  letter: Buffer.from('x'),
  noise: noise(40_000),
  lines: Buffer.from(
    Array.from({ length: 50_000 }, (_, i) => i % 101)
      .map(n => `${n} https://www.example.com/pages/${(n * n) % 101}\n`)
      .join(''),
  ),
}

function noise(length: number): Buffer {
  let state = 1
  return Buffer.from(
    Array.from({ length }, () => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
      return (state >> 16) & 0xff
    }),
  )
}

const vector = (name: string) => readFileSync(join(__dirname, 'vectors', `${name}.bin`))
const compressed = (codec: string, text: keyof typeof TEXTS) =>
  vector(`${codec === 'fzstd' ? 'zstd' : codec}-${text}`)

async function expectDecoded(codec: keyof typeof DECODERS, input: Buffer, text: Buffer): Promise<void> {
  const decoded = await DECODERS[codec](input, LIMIT)
  // Comparing megabytes with `toEqual` takes seconds.
  expect({ length: decoded.length, isEqual: text.equals(decoded) }).toEqual({
    length: text.length,
    isEqual: true,
  })
}

test.each(NAMES)(
  "%s decodes what Kafka's own producer compresses, also several streams in a row",
  async codec => {
    for (const [name, text] of Object.entries(TEXTS))
      await expectDecoded(codec, compressed(codec, name as keyof typeof TEXTS), text)
    const streams = (['letter', 'lines', 'empty', 'noise'] as const).map(text => compressed(codec, text))
    const { letter, lines, noise } = TEXTS
    await expectDecoded(codec, Buffer.concat(streams), Buffer.concat([letter, lines, noise]))
  },
)

test('frames may have checksums, their size, blocks that depend on each other, and parts to skip', async () => {
  const skipped = Buffer.from('522a4d1803000000616263', 'hex')
  await expectDecoded('lz4', Buffer.concat([skipped, vector('lz4-options'), skipped]), TEXTS.lines)
  for (const codec of ['zstd', 'fzstd'] as const)
    await expectDecoded(codec, Buffer.concat([skipped, vector('zstd-options'), skipped]), TEXTS.lines)
})

test("zstd is Node's own where that is complete", () => {
  const [major] = process.versions.node.split('.')
  expect(decodeZstd === decodeWithFzstd).toBe(Number(major) < 24)
})

test.each(NAMES)('%s stops at the limit', async codec => {
  const input = Buffer.concat(Array<Buffer>(3).fill(compressed(codec, 'lines')))
  const decode = async () => DECODERS[codec](input, 4 << 20)
  await expect(decode()).rejects.toThrow(/expands to more than 4 MiB|larger than 4194304 bytes/)
})

test.each(NAMES)('%s fails on damaged bytes, or decodes something within the limit', async codec => {
  const inputs = fc.constantFrom(
    ...(['letter', 'lines', 'noise'] as const).map(text => compressed(codec, text)),
  )
  const damages = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(inputs, damages, fc.option(fc.nat()), async (input, damages, cut) => {
      const damaged = Buffer.from(input)
      for (const [at, byte] of damages) damaged[at % damaged.length] = byte
      const decode = async () => DECODERS[codec](damaged.subarray(0, (cut ?? damaged.length) + 1), LIMIT)
      const decoded = await decode().catch(() => Buffer.alloc(0))
      expect(decoded.length).toBeLessThanOrEqual(LIMIT)
    }),
    { numRuns: 50 },
  )
})

test('checksums are those of Kafka', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
})

/** Decodes batches as kafkajs does when it has fetched them. */
async function fetched(...batches: Buffer[]): Promise<KafkaMessage[]> {
  registerCodecs()
  const size = Buffer.alloc(4)
  const bytes = Buffer.concat(batches)
  size.writeInt32BE(bytes.length)
  return decodeMessages(new Decoder(Buffer.concat([size, bytes])))
}

test('batches of librdkafka are read, with snappy as a single block', async () => {
  const messages = await fetched(vector('librdkafka'))
  const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
  expect(messages.map(({ value }) => value!.toString())).toEqual(
    codecs.flatMap(codec => Array.from({ length: 20 }, (_, i) => `${codec} ${i}`)),
  )
})

/** A batch with offsets from 300 on, as a broker stores it. */
function batchOf(codec: number, records: Buffer, count: number): Buffer {
  const batch = Buffer.alloc(61 + records.length)
  batch.writeBigInt64BE(300n, 0)
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt8(2, 16)
  batch.writeInt16BE(codec, 21)
  batch.writeInt32BE(count - 1, 23)
  batch.writeInt32BE(count, 57)
  records.copy(batch, 61)
  batch.writeUInt32BE(crc32c(batch.subarray(21)), 17)
  return batch
}

const GZIP = 1
const ZSTD = 4
/** A record that has no key, the value `x` and no headers, with its length in front. */
const RECORD = Buffer.from([14, 0, 0, 0, 1, 2, 0x78, 0])
const records = (count: number) => Buffer.alloc(RECORD.length * count, RECORD)

test('a batch that cannot be decoded is named in place of each of its records', async () => {
  const damaged = batchOf(GZIP, gzipSync(records(3)), 3)
  damaged[80]! ^= 1
  const zeros = gzipSync(Buffer.alloc(8 << 20))
  const cases: [Buffer, string, string | RegExp][] = [
    [damaged, 'gzip', 'is corrupt (checksum)'],
    [batchOf(GZIP, Buffer.from('no gzip'), 3), 'gzip', 'is corrupt (incorrect header check)'],
    [batchOf(GZIP, gzipSync(records(2)), 3), 'gzip', 'is corrupt (records)'],
    [batchOf(GZIP, gzipSync(records(4)), 3), 'gzip', 'is corrupt (records)'],
    [batchOf(GZIP, Buffer.concat(Array<Buffer>(17).fill(zeros)), 3), 'gzip', 'expands to more than 128 MiB'],
    [batchOf(ZSTD, compressed('zstd', 'lines').subarray(0, -1), 3), 'zstd', /^is corrupt \(unexpected/],
    [batchOf(5, records(3), 3), 'codec 5', 'has an unknown codec'],
  ]
  for (const [bytes, codec, problem] of cases) {
    const [intact, ...unreadable] = await fetched(batchOf(GZIP, gzipSync(RECORD), 1), bytes)
    expect(unreadableBatch(7, intact!)).toBeUndefined()
    expect(unreadable).toHaveLength(3)
    for (const message of unreadable) {
      // The last one, so that kafkajs never takes them for older ones than it asked for.
      expect(message.offset).toBe('302')
      expect(unreadableBatch(7, message)).toEqual({
        partition: 7,
        offset: 300,
        codec,
        problem: typeof problem === 'string' ? problem : expect.stringMatching(problem),
      })
    }
  }
})

test('a batch of more records than kafkajs can pass on is refused', async () => {
  const batch = (count: number) => batchOf(GZIP, gzipSync(records(count)), count)
  expect((await fetched(batch(120_000))).length).toBe(120_000)
  await expect(fetched(batch(120_001))).rejects.toThrow(
    'A batch at offset 300 (gzip) has 120,001 records, more than 120,000.',
  )
})
