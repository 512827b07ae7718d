import type { DataConverter, Payload, PayloadCodec } from '@temporalio/common'

/**
 * What one message may hold, in bytes. The server refuses payloads above 2 MB, and more than 4 MB in one request; by
 * construction no message comes near (docs/how-it-works.md, "Messages that fit").
 */
export const MAX_PAYLOAD_BYTES = 1_800_000

/** A mistake in this program: the same message is as large the next time. */
export class MessageTooLargeError extends Error {
  override readonly name = 'MessageTooLargeError'
}

/** The one place that every message to Temporal passes, from pollers, commands, activities and workflows. */
const bounded: PayloadCodec = {
  encode(payloads: Payload[]) {
    for (const { data } of payloads)
      if (data && data.byteLength > MAX_PAYLOAD_BYTES)
        return Promise.reject(
          new MessageTooLargeError(
            `A message to Temporal of ${data.byteLength} bytes is above the bound of ${MAX_PAYLOAD_BYTES}: please report it.`,
          ),
        )
    return Promise.resolve(payloads)
  },
  decode: payloads => Promise.resolve(payloads),
}

export const dataConverter: DataConverter = { payloadCodecs: [bounded] }
