import type { WorkflowHandle } from '@temporalio/client'

/** The id of a workflow's first run, which continue-as-new and a reset keep. Undefined if the server does not tell. */
export async function firstRunOf(workflow: WorkflowHandle): Promise<string | undefined> {
  const { raw } = await workflow.describe()
  return raw.workflowExecutionInfo?.firstRunId || undefined
}
