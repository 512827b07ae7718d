const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d

/**
 * Splits a byte stream into lines without their ends (LF or CRLF). Bytes that are not UTF-8 stay as they are. Empty lines
 * count, and so does a last line without an end.
 */
export async function* lines(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let partial: Buffer[] = []
  for await (const chunk of stream) {
    let from = 0
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, from)) {
      const part = chunk.subarray(from, end)
      yield withoutReturn(partial.length === 0 ? part : Buffer.concat([...partial, part]))
      partial = []
      from = end + 1
    }
    if (from < chunk.length) partial.push(chunk.subarray(from))
  }
  if (partial.length > 0) yield withoutReturn(Buffer.concat(partial))
}

function withoutReturn(line: Buffer): Buffer {
  return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line
}
