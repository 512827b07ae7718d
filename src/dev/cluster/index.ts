import { startCluster, type ClusterOptions } from './up'
import type { ClusterState } from './state'

export { clusterDown } from './down'
export { clusterEnvironment } from './environment'
export { clusterStatus, type ClusterStatus, type ComponentStatus } from './status'
export type { ClusterState, ComponentName } from './state'
export type { ClusterOptions } from './up'

/** Brings the cluster in a folder up, and resolves when all of it answers. Idempotent. */
export async function clusterUp(options: ClusterOptions): Promise<ClusterState> {
  return (await startCluster(options)).state
}
