import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import { Command } from 'commander'
import { loadConfig } from '../config'
import { withTemporal } from '../temporal/connection'
import { retry } from '../contract/messages'

export function retryCommand(): Command {
  return new Command('retry')
    .description('try at once whatever Postgres refused for good, after the cause was mended')
    .action(async () => {
      const { settings } = loadConfig()
      const retried = await withTemporal(client => retryRefused(client, settings.group))
      console.log(
        retried === 0
          ? 'Nothing waits for Postgres.'
          : `Told ${retried} ${retried === 1 ? 'workflow' : 'workflows'} to try again at once.`,
      )
    })
}

/**
 * Windows that are stuck, and what carries late and rejected records or pieces of windows to Postgres; one that is not
 * refused takes no notice.
 *
 * @returns how many were told
 */
async function retryRefused(client: Client, group: string): Promise<number> {
  const running = `Pipeline = '${group}' AND ExecutionStatus = 'Running'`
  const waiting = `(WindowStatus = 'stuck' OR WorkflowType IN ('exceptions', 'piece'))`
  let told = 0
  for await (const { workflowId, runId } of client.workflow.list({ query: `${running} AND ${waiting}` })) {
    try {
      await client.workflow.getHandle(workflowId, runId).signal(retry)
      told++
    } catch (error) {
      // It has ended since it was listed.
      if (!(error instanceof WorkflowNotFoundError)) throw error
    }
  }
  return told
}
