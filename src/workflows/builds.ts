import { workflowInfo } from '@temporalio/workflow'

/**
 * For workflows that end within minutes. On versioned workers (`WORKER_BUILD_ID`) the build that began one finishes it,
 * so its code may change freely. Workers without a version must not name one.
 */
export function finishedByItsBuild(): { versioningBehavior?: 'PINNED' } {
  return workflowInfo().currentDeploymentVersion?.deploymentName ? { versioningBehavior: 'PINNED' } : {}
}
