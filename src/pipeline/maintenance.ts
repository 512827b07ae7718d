import { type Client, ScheduleAlreadyRunning, ScheduleNotFoundError } from '@temporalio/client'
import type { MaintainInput } from '../contract/activities'
import type { Config } from '../config'
import { maintainId } from '../contract/ids'
import type { PipelineSettings } from '../core/settings'
import { pipelineAttributes } from '../contract/search-attributes'
import type { MaintainSummary } from '../contract/workflows'
import { UserError } from '../errors'
import { startOrJoin } from './workflow-runs'

/** A few minutes after the hour, when its windows have closed and it can be rolled up. */
const HOURLY_AT = { hour: '*', minute: 5 } as const

export const maintenanceScheduleId = (group: string) => maintainId(group, 'hourly')

function maintainInput({ retention }: Config, settings: PipelineSettings): MaintainInput {
  return { settings, retention: retention ?? null }
}

/** Schedules hourly maintenance. An existing schedule is updated to the current configuration. */
export async function scheduleMaintenance(
  client: Client,
  config: Config,
  settings: PipelineSettings,
): Promise<void> {
  const scheduleId = maintenanceScheduleId(settings.group)
  const scheduled = {
    spec: { calendars: [HOURLY_AT] },
    action: {
      type: 'startWorkflow' as const,
      workflowType: 'maintain',
      workflowId: maintainId(settings.group, 'hour'),
      taskQueue: config.taskQueue,
      args: [maintainInput(config, settings)],
      typedSearchAttributes: pipelineAttributes(settings),
    },
  }
  try {
    await client.schedule.create({ scheduleId, ...scheduled, state: { triggerImmediately: true } })
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error
    const existing = client.schedule.getHandle(scheduleId)
    await existing.update(({ policies, state }) => ({ policies, state, ...scheduled }))
  }
}

/** The schedule's settings; undefined if there is no schedule. */
export async function scheduledMaintenance(
  client: Client,
  group: string,
): Promise<{ paused: boolean; retention: number | undefined } | undefined> {
  try {
    const { state, action } = await client.schedule.getHandle(maintenanceScheduleId(group)).describe()
    const [input] = (action.args ?? []) as MaintainInput[]
    return { paused: state.paused, retention: input?.retention ?? undefined }
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) return undefined
    throw error
  }
}

/** Maintains the tables now; joins a run that is under way. */
export async function maintainNow(
  client: Client,
  config: Config,
  settings: PipelineSettings,
): Promise<MaintainSummary> {
  const handle = await startOrJoin(client, config, settings, {
    type: 'maintain',
    workflowId: maintainId(settings.group, 'now'),
    input: maintainInput(config, settings),
    summary: 'maintain the tables',
  })
  return handle.result() as Promise<MaintainSummary>
}

/** @throws UserError if there is no schedule */
export async function unscheduleMaintenance(client: Client, group: string): Promise<void> {
  try {
    await client.schedule.getHandle(maintenanceScheduleId(group)).delete()
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error
    throw new UserError(`No maintenance of "${group}" is scheduled.`)
  }
}
