import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import { EventReader } from '../core/event/event-reader'
import type { LogRecord, OffsetSpan } from '../core/event/log-record'
import type { PipelineSettings } from '../core/settings'
import { Recount, segmentsOf, type CountedWindow } from '../core/window/recount'
import type { Lookup } from '../geo/lookup'
import { rangesThatAreGone, readRanges, type LogRange } from '../kafka/range-reader'
import type { Db } from '../postgres/database'
import { readerRules } from './reader-rules'

/** What the activities that count windows again need. */
export interface RecountDependencies {
  config: Pick<Config, 'kafka'>
  db: Db
  client: Client
  lookup: Lookup
  signal: AbortSignal
  report: (progress: object) => void
}

export interface Recounted {
  recount: Recount
  /** Windows of which Kafka no longer has all records. */
  gone: CountedWindow[]
  counted: CountedWindow[]
}

/** Counts closed windows again from the log, by the same rules as the first time. */
export async function recountWindows(
  windows: CountedWindow[],
  settings: PipelineSettings,
  dependencies: RecountDependencies,
  onProgress: Progress,
): Promise<Recounted> {
  const { config, lookup } = dependencies
  const segmentsByWindow = new Map(windows.map(window => [window, segmentsOf([window])]))
  const lost = await rangesThatAreGone([...segmentsByWindow.values()].flat(), {
    kafka: config.kafka,
    topic: settings.topic,
  })
  const isGone = (window: CountedWindow) => segmentsByWindow.get(window)!.some(segment => lost.has(segment))
  const counted = windows.filter(window => !isGone(window))

  const rules = readerRules(settings, lookup)
  const recount = new Recount(counted, rules, new EventReader(rules))
  const ranges = segmentsOf(counted).map(segment => ({ ...segment, reader: recount.segment(segment) }))
  await countRanges('replay', ranges, settings, dependencies, onProgress)
  return { recount, gone: windows.filter(isGone), counted }
}

type Progress = (read: number, total: number) => void

interface CountingRange extends LogRange {
  reader: {
    readonly position: number
    read(records: readonly LogRecord[], next: number, removed: readonly OffsetSpan[]): boolean | void
  }
}

/** Reads each range of the log into its reader, after looking up its addresses. */
export async function countRanges(
  purpose: 'replay' | 'repair',
  ranges: CountingRange[],
  { topic, group }: PipelineSettings,
  { config, lookup: { service }, signal }: RecountDependencies,
  onProgress: Progress,
): Promise<void> {
  const total = ranges.reduce((sum, { from, to }) => sum + to - from, 0)
  let read = 0
  await readRanges(ranges, {
    kafka: config.kafka,
    topic,
    group: `${group}-${purpose}`,
    signal,
    ...(service && {
      async prepare(records: LogRecord[]) {
        const unknown = service.unknownOf(records)
        if (unknown.length > 0) await service.resolve(unknown, signal)
      },
    }),
    onRecords({ reader }, records, next, removed) {
      const before = reader.position
      const isEnough = reader.read(records, next, removed)
      read += reader.position - before
      onProgress(read, total)
      return isEnough
    },
  })
}
