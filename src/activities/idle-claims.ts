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
 * @param at the ledger's time when the offsets were requested, epoch ms: a record may have arrived since
 */
export async function idleClaims(
  { state, check, lag, pipeline, idleTimeout }: Polled,
  offsets: PartitionOffsets[],
  at: number,
): Promise<IdleClaim[]> {
  const isIdle = ({ partition, high }: PartitionOffsets) => {
    if (!state.isSettled(partition) || !check.isVerified(partition)) return false
    if (check.isGrowing(partition)) return true
    return state.reader(partition)?.position === high && lag.quietFor(partition) >= idleTimeout
  }
  const idle = offsets.filter(isIdle).map(({ partition }) => partition)
  const awaited = idle.length > 0 ? await pipeline.awaited(idle, at) : []
  return awaited.map(partition => ({ partition, position: state.reader(partition)?.position ?? -1, at }))
}
