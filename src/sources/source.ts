import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { UserError } from '../errors'
import { type Site, parseAccessLogLine } from './access-log'
import { lines } from './lines'
import { playback } from './playback'
import type { Records, TrafficRecord } from './record'

/** Where records come from, and what is known of them beforehand. */
export interface Source {
  records: (partitions: number) => Records
  /** How much is done, 0 to 1, after so many records; absent where the end is not known. */
  fraction?: (sent: number) => number
  /** Whether the source knows its malformed records, and its late ones. */
  knows: { malformed: boolean; late: boolean }
  /** Lets go of what the source holds open. */
  close: () => void
}

/**
 * Events of a combined access log; a line that is none is sent as it is.
 *
 * @param file a path, or `-` for standard input
 * @param speed sends them as live traffic, as {@link playback} does; otherwise as fast as they are taken
 * @throws UserError where the file cannot be read
 */
export async function accessLogSource(file: string, site: Site, speed?: number): Promise<Source> {
  const source = await lineSource(file, { malformed: true, late: false }, line => {
    const event = parseAccessLogLine(line.toString('utf8'), site)
    return event ? { value: JSON.stringify(event) } : { value: line, malformed: true }
  })
  return atSpeed(source, speed)
}

/**
 * Lines that are events already, sent as they are; with `speed` except for their time.
 *
 * @param file a path, or `-` for standard input
 * @param speed as of {@link accessLogSource}
 * @throws UserError where the file cannot be read
 */
export async function ndjsonSource(file: string, speed?: number): Promise<Source> {
  const source = await lineSource(file, { malformed: false, late: false }, line => ({ value: line }))
  return atSpeed(source, speed)
}

function atSpeed(source: LineSource, speed?: number): Source {
  return speed === undefined ? source : { ...source, records: () => playback(source.records(), speed) }
}

interface LineSource extends Source {
  records: () => AsyncIterable<TrafficRecord>
}

async function lineSource(
  file: string,
  knows: Source['knows'],
  toRecord: (line: Buffer) => TrafficRecord,
): Promise<LineSource> {
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
    records,
    ...(size > 0 && { fraction: () => read / size }),
    knows,
    close: () => stream.destroy(),
  }
}

/** The stream of a file and its size in bytes, 0 where it has none (a pipe). */
async function openFile(file: string): Promise<{ stream: Readable; size: number }> {
  if (file === '-') return { stream: process.stdin, size: 0 }
  try {
    const handle = await open(file)
    const status = await handle.stat()
    if (status.isDirectory()) throw new Error('it is a folder')
    return { stream: handle.createReadStream({ highWaterMark: 1 << 18 }), size: status.size }
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw new UserError(
      `Cannot read ${file}: ${missing ? 'there is no such file' : (error as Error).message}.`,
    )
  }
}
