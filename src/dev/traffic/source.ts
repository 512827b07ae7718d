import { totalEvents, type Pace, syntheticLive } from './live'
import { type History, syntheticHistory, type SyntheticOptions } from './synthetic'
import type { Source } from '../../sources/source'

type WithoutPartitions = Omit<SyntheticOptions, 'partitions'>

export function historySource(options: WithoutPartitions, history: History): Source {
  return {
    records: partitions => syntheticHistory({ ...options, partitions }, history),
    fraction: sent => sent / history.events,
    knows: { malformed: true, late: true },
    close: () => undefined,
  }
}

export function liveSource(options: WithoutPartitions, pace: Pace): Source {
  return {
    records: partitions => syntheticLive({ ...options, partitions }, pace),
    ...(pace.duration !== undefined && { fraction: (sent: number) => sent / totalEvents(pace) }),
    knows: { malformed: true, late: true },
    close: () => undefined,
  }
}
