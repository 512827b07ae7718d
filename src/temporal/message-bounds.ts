import type { DataConverter, PayloadCodec } from '@temporalio/common'

/** Bytes. The server's limits are 2 MB per payload and 4 MB per request (docs/how-it-works.md, "Messages that fit"). */
export const MAX_PAYLOAD_BYTES = 1_800_000

/** A bug in this program, because no message may come near the bound. Permanent: a retry sends the same message. */
export class MessageTooLargeError extends Error {
  override readonly name = 'MessageTooLargeError'
}

const sizeCheck: PayloadCodec = {
  encode(payloads) {
    const sizes = payloads.map(({ data }) => data?.byteLength ?? 0)
    const tooLarge = sizes.find(size => size > MAX_PAYLOAD_BYTES)
    if (tooLarge === undefined) return Promise.resolve(payloads)
    const says = `A message to Temporal has ${tooLarge} bytes, more than the bound of ${MAX_PAYLOAD_BYTES}. This is a bug: please report it.`
    return Promise.reject(new MessageTooLargeError(says))
  },
  decode: payloads => Promise.resolve(payloads),
}

/** Every message to Temporal passes this, from pollers, commands, activities and workflows. */
export const dataConverter: DataConverter = { payloadCodecs: [sizeCheck] }
