import { tsToMs } from '@temporalio/common/lib/time'
import { heartbeatOf, type PendingActivity } from './heartbeat'

/** Pollers hand partitions over within this time, ms. */
const HANDOVER = 30_000

/** What a poller's heartbeat says about its partitions. */
interface Reading {
  partitions: { partition: number }[]
  assignedFor: number
}

/**
 * The partitions that no poller has read for {@link HANDOVER}; none while Kafka assigns partitions, or if no poller runs.
 *
 * @param pollers the pending activities of the pollers
 */
export function unreadPartitions(partitions: number[], pollers: PendingActivity[]): number[] {
  const readings = pollers.filter(({ lastStartedTime }) => lastStartedTime).map(readingOf)
  if (readings.length === 0 || readings.some(({ assignedFor }) => assignedFor < HANDOVER)) return []
  const read = new Set(readings.flatMap(reading => reading.partitions.map(({ partition }) => partition)))
  return partitions.filter(partition => !read.has(partition))
}

/** Of a poller that has reported no progress: it has joined no group since it started. */
function readingOf(poller: PendingActivity): Reading {
  const { partitions, assignedFor = 0 } = heartbeatOf<Reading>(poller)
  if (partitions) return { partitions, assignedFor }
  return { partitions: [], assignedFor: Date.now() - tsToMs(poller.lastStartedTime) }
}
