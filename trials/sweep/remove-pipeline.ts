import type { Client } from '@temporalio/client'
import { Pool } from 'pg'
import type { Config } from '../../src/config'
import { withAdmin } from '../../src/kafka/client'
import { maintenanceScheduleId } from '../../src/pipeline/maintenance'

const DELETED_AT_ONCE = 8

/** Removes the workflows, topic and database of a pipeline, so that the servers stay fast. */
export async function removePipeline(client: Client, config: Config): Promise<void> {
  const { group, topic } = config.settings
  await client.schedule
    .getHandle(maintenanceScheduleId(group))
    .delete()
    .catch(() => undefined)
  await deleteWorkflows(client, group)
  await withAdmin(config.kafka, async admin => {
    if ((await admin.listTopics()).includes(topic)) await admin.deleteTopics({ topics: [topic] })
  })
  const { postgres } = config
  const pool = new Pool({ ...postgres, database: 'postgres', max: 1 })
  await pool.query(`drop database if exists "${postgres.database}" with (force)`).finally(() => pool.end())
}

/** Deletes all runs; deleting an open run terminates it. */
async function deleteWorkflows(client: Client, group: string): Promise<void> {
  const { namespace } = client.options
  const runs = client.workflow.list({ query: `Pipeline = '${group}'` })[Symbol.asyncIterator]()
  const deleteNext = async () => {
    for (let next = await runs.next(); !next.done; next = await runs.next()) {
      const { workflowId, runId } = next.value
      await client.workflowService
        .deleteWorkflowExecution({ namespace, workflowExecution: { workflowId, runId } })
        .catch(() => undefined)
    }
  }
  await Promise.all(Array.from({ length: DELETED_AT_ONCE }, deleteNext))
}
