import { workflowInfo } from '@temporalio/workflow'

/**
 * For workflows that end by themselves within minutes: with versioned workers (`WORKER_BUILD_ID`) the build that began
 * one finishes it, so that their code may change freely. The ledger and the pollers live on from build to build, and
 * change by `patched`. Workers without versions must not be told of any.
 */
export function finishedByItsBuild(): { versioningBehavior?: 'PINNED' } {
  return workflowInfo().currentDeploymentVersion?.deploymentName ? { versioningBehavior: 'PINNED' } : {}
}
