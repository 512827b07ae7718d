import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { UserError } from '../errors'
import { type Site, parseAccessLogLine } from './access-log'
import { lines } from './lines'
import { playback } from './playback'
import type { Records, TrafficRecord } from './record'

/** A source of records, and what it knows about them in advance. */
export interface Source {
  records: (partitions: number) => Records
  /** The share of the source, 0 to 1, that is read after this many records; absent if its end is unknown. */
  fraction?: (sent: number) => number
  /** Whether the source marks malformed and late records. */
  knows: { malformed: boolean; late: boolean }
  close: () => void
}

/**
 * The events of an access log in the combined format. A line of another format is sent unchanged.
 *
 * @param file a path, or `-` for standard input
 * @param speed replays the log as live traffic, as {@link playback} does; by default, records are sent at full speed
 * @throws UserError if the file cannot be read
 */
export function accessLogSource(file: string, site: Site, speed?: number): Promise<Source> {
  return lineSource(file, { malformed: true, late: false }, speed, line => {
    const event = parseAccessLogLine(line.toString('utf8'), site)
    return event ? { value: JSON.stringify(event) } : { value: line, malformed: true }
  })
}

/** Lines that are events already; `file`, `speed` and errors are those of {@link accessLogSource}. */
export function ndjsonSource(file: string, speed?: number): Promise<Source> {
  return lineSource(file, { malformed: false, late: false }, speed, line => ({ value: line }))
}

async function lineSource(
  file: string,
  knows: Source['knows'],
  speed: number | undefined,
  toRecord: (line: Buffer) => TrafficRecord,
): Promise<Source> {
  const { stream, size } = await openFile(file)
  let read = 0
  const counted = async function* () {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      read += chunk.length
      yield chunk
    }
  }
  const records = async function* () {
    for await (const line of lines(counted())) yield toRecord(line)
  }
  return {
    records: () => (speed === undefined ? records() : playback(records(), speed)),
    ...(size > 0 && { fraction: () => read / size }),
    knows,
    close: () => stream.destroy(),
  }
}

/** The stream of a file and its size in bytes, 0 for a pipe. */
async function openFile(file: string): Promise<{ stream: Readable; size: number }> {
  if (file === '-') return { stream: process.stdin, size: 0 }
  try {
    const handle = await open(file)
    const status = await handle.stat()
    if (status.isDirectory()) throw new Error('it is a folder')
    return { stream: handle.createReadStream({ highWaterMark: 1 << 18 }), size: status.size }
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw new UserError(`Cannot read ${file}: ${missing ? 'no such file' : (error as Error).message}.`)
  }
}
