import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import { retry } from '../contract/messages'

/**
 * Signals every workflow that may be waiting after a permanent failure of Postgres; the others ignore the signal.
 *
 * @returns how many workflows were signalled
 */
export async function retryFailedWrites(client: Client, group: string): Promise<number> {
  const running = `Pipeline = '${group}' AND ExecutionStatus = 'Running'`
  const waiting = `(WindowStatus = 'stuck' OR WorkflowType IN ('exceptions', 'piece'))`
  let signalled = 0
  for await (const { workflowId, runId } of client.workflow.list({ query: `${running} AND ${waiting}` })) {
    try {
      await client.workflow.getHandle(workflowId, runId).signal(retry)
      signalled++
    } catch (error) {
      // The run may have ended since it was listed.
      if (!(error instanceof WorkflowNotFoundError)) throw error
    }
  }
  return signalled
}
