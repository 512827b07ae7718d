import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import type { Client, WorkflowHandle } from '@temporalio/client'
import type { Config } from '../config'
import type { PipelineSettings } from '../core/settings'
import { pipelineAttributes } from '../contract/search-attributes'
import { PipelineClient } from './pipeline-client'

/** The settings that the pipeline was started with. */
export async function settingsOf(client: Client, config: Config): Promise<PipelineSettings> {
  const status = await new PipelineClient(client, config).requireStatus()
  return status.settings
}

/** Starts a workflow of the pipeline, or returns the one that already runs under its id. */
export async function startOrJoin(
  client: Client,
  { taskQueue }: Config,
  settings: PipelineSettings,
  { type, workflowId, input, summary }: { type: string; workflowId: string; input: object; summary: string },
): Promise<WorkflowHandle> {
  try {
    return await client.workflow.start(type, {
      workflowId,
      taskQueue,
      args: [input],
      staticSummary: summary,
      typedSearchAttributes: pipelineAttributes(settings),
    })
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    return client.workflow.getHandle(workflowId)
  }
}
