import { EventReader } from '../core/event/event-reader'
import { Recount, segmentsOf, type CountedWindow } from '../core/window/recount'
import type { PipelineSettings } from '../core/settings'
import type { LogRecord } from '../core/event/log-record'
import type { BatchLookup, Lookup } from '../geo/lookup'
import type { KafkaConnection } from '../kafka/connection'
import { rangesThatAreGone, readRanges } from '../kafka/range-reader'
import { hashKey } from './hash-key'

export interface RecountOptions {
  settings: PipelineSettings
  kafka: KafkaConnection
  lookup: Lookup
  signal: AbortSignal
  /** Records that have been read, and how many there are to read. */
  onProgress: (read: number, all: number) => void
}

export interface Recounted {
  recount: Recount
  /** Windows of which Kafka no longer has all records. */
  gone: CountedWindow[]
  /** The others. */
  counted: CountedWindow[]
}

/** Counts closed windows anew from the log, by the rules of the first time and with the look-up of today. */
export async function recountWindows(
  windows: CountedWindow[],
  { settings, kafka, lookup, signal, onProgress }: RecountOptions,
): Promise<Recounted> {
  const { topic } = settings
  const stretches = new Map(windows.map(window => [window, segmentsOf([window])]))
  const lost = await rangesThatAreGone([...stretches.values()].flat(), { kafka, topic })
  const isGone = (window: CountedWindow) => stretches.get(window)!.some(segment => lost.has(segment))
  const gone = windows.filter(isGone)
  const counted = windows.filter(window => !isGone(window))

  const { locate, service } = lookup
  const rules = { ...settings, locate, hashKey }
  const recount = new Recount(counted, rules, new EventReader(rules))
  const segments = segmentsOf(counted)
  const all = segments.reduce((sum, { from, to }) => sum + to - from, 0)
  const readers = new Map(segments.map(segment => [segment, recount.segment(segment)]))
  let read = 0
  await readRanges(segments, {
    kafka,
    topic,
    group: `${settings.group}-replay`,
    signal,
    ...(service && { prepare: records => resolveAddresses(service, records, signal) }),
    onRecords: (range, records, next) => {
      const reader = readers.get(range)!
      const before = reader.position
      reader.read(records, next)
      read += reader.position - before
      onProgress(read, all)
    },
  })
  return { recount, gone, counted }
}

/** Looks up the addresses of records that the service has not been asked for yet. */
export async function resolveAddresses(
  service: BatchLookup,
  records: LogRecord[],
  signal: AbortSignal,
): Promise<void> {
  const unknown = service.unknownOf(records)
  if (unknown.length > 0) await service.resolve(unknown, signal)
}
