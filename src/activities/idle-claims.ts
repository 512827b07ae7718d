import type { IdleClaim, PollerState } from '../core/window/poller-state'
import type { PartitionOffsets } from '../kafka/client'
import type { LogCheck } from './log-check'
import type { PartitionLag } from './partition-lag'
import type { PipelinePort } from './pipeline-port'

interface Polled {
  state: PollerState
  check: LogCheck
  lag: PartitionLag
  pipeline: PipelinePort
  idleTimeout: number
}

/**
 * The idle partitions that windows wait for.
 *
 * @param now when the offsets were requested: a record may have arrived since
 */
export async function idleClaims(
  { state, check, lag, pipeline, idleTimeout }: Polled,
  offsets: PartitionOffsets[],
  now: number,
): Promise<IdleClaim[]> {
  const isIdle = ({ partition, high }: PartitionOffsets) => {
    if (!state.isSettled(partition) || !check.isVerified(partition)) return false
    if (check.isGrowing(partition)) return true
    const quietSince = lag.quietSince(partition) ?? now
    return state.reader(partition)?.position === high && now - quietSince >= idleTimeout
  }
  const idle = offsets.filter(isIdle).map(({ partition }) => partition)
  const awaited = idle.length > 0 ? await pipeline.awaited(idle, now) : []
  return awaited.map(partition => ({
    partition,
    position: state.reader(partition)?.position ?? -1,
    at: now,
  }))
}
