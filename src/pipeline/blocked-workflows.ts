import { status } from '@grpc/grpc-js'
import { isGrpcServiceError, type Client, type WorkflowExecutionInfo } from '@temporalio/client'
import { windowStart } from '../contract/search-attributes'
import { NAMED_UNSETTLED } from '../contract/unsettled'
import { counted } from '../core/numbers'
import { formatWindow } from '../core/window/tumbling-window'
import { causes } from '../errors'
import { ifFound } from '../temporal/ask'
import { whyBlocked } from '../temporal/blocked'

/** Set by the server, from version 1.30 on, if tasks of a workflow fail or something in it is paused. */
const ATTRIBUTES = ['TemporalReportedProblems', 'TemporalPauseInfo']

/** Open workflows that cannot continue according to the server. */
export async function blockedWorkflows(client: Client, group: string): Promise<WorkflowExecutionInfo[]> {
  const blocked = new Map<string, WorkflowExecutionInfo>()
  for (const attribute of ATTRIBUTES) {
    const query = `Pipeline = '${group}' AND CloseTime IS NULL AND ${attribute} IS NOT NULL`
    try {
      for await (const workflow of client.workflow.list({ query })) blocked.set(workflow.workflowId, workflow)
    } catch (error) {
      if (!isUnknownAttribute(error)) throw error
    }
  }
  return [...blocked.values()]
}

function isUnknownAttribute(error: unknown): boolean {
  return causes(error).some(cause => isGrpcServiceError(cause) && cause.code === status.INVALID_ARGUMENT)
}

/** Why each cannot continue, and what to do; a sentence each. */
export async function describeBlocked(
  client: Client,
  workflows: WorkflowExecutionInfo[],
  windowSize: number,
): Promise<string[]> {
  const problems: string[] = []
  for (const workflow of workflows.slice(0, NAMED_UNSETTLED)) {
    const found = await ifFound(client.workflow.getHandle(workflow.workflowId).describe())
    const why = found && (await whyBlocked(client, found))
    if (why) problems.push(`${nameOf(workflow, windowSize)} ${why}`)
  }
  const more = workflows.length - NAMED_UNSETTLED
  if (more > 0)
    problems.push(
      `${counted(more, 'more workflow')} cannot continue: search the Web UI for ${ATTRIBUTES.join(' and for ')}.`,
    )
  return problems
}

function nameOf(
  { workflowId, type, typedSearchAttributes }: WorkflowExecutionInfo,
  windowSize: number,
): string {
  if (type === 'ingest') return 'The ledger'
  if (type === 'poller') return `Poller ${workflowId.split('/').at(-1)}`
  const start = typedSearchAttributes.get(windowStart)?.getTime()
  return type === 'window' && start !== undefined
    ? `Window ${formatWindow(start, windowSize)}`
    : `The workflow "${workflowId}"`
}
