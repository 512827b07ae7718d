import { ScheduleAlreadyRunning, ScheduleNotFoundError, type Client } from '@temporalio/client'
import { Command } from 'commander'
import type { MaintainInput } from '../activities/types'
import { loadConfig, type Config } from '../config'
import { formatDuration } from '../core/duration'
import { maintainId } from '../core/names'
import type { PipelineSettings } from '../core/settings'
import { withTemporal } from '../temporal'
import type { MaintainSummary } from '../workflows/maintain'
import { pipelineAttributes } from '../workflows/search-attributes'
import { UserError } from '../errors'
import { settingsOf, startOrJoin } from './recount'

interface Flags {
  schedule?: true
  unschedule?: true
  json?: true
}

/** A few minutes after the hour: its windows have closed, and it can be added up. */
const HOURLY_AT = { hour: '*', minute: 5 } as const

export const scheduleId = (group: string) => maintainId(group, 'hourly')

export function maintainCommand(): Command {
  return new Command('maintain')
    .description(
      'make partitions ahead, add up hours, days and months that are over, and drop what is past RETENTION',
    )
    .option('--schedule', 'from now on every hour, with the RETENTION of now; "start" does so too')
    .option('--unschedule', 'no longer')
    .option('--json', 'print as JSON')
    .action(async (flags: Flags) => {
      const config = loadConfig()
      await withTemporal(async client => {
        if (flags.unschedule) return unschedule(client, config)
        const settings = await settingsOf(client, config)
        if (flags.schedule) {
          await scheduleMaintenance(client, config, settings)
          const kept = config.retention === undefined ? 'for ever' : `for ${formatDuration(config.retention)}`
          console.log(
            `Every hour the tables are looked after, and counts are kept ${kept}; the Temporal Web UI has it under Schedules.`,
          )
          return
        }
        const handle = await startOrJoin(client, config, settings, {
          type: 'maintain',
          workflowId: maintainId(settings.group, 'now'),
          input: inputOf(config, settings),
          summary: 'maintain the tables',
        })
        const done = (await handle.result()) as MaintainSummary
        console.log(flags.json ? JSON.stringify(done, null, 2) : done.summary)
      })
    })
}

function inputOf({ retention }: Config, settings: PipelineSettings): MaintainInput {
  return { settings, retention: retention ?? null }
}

/** Has the tables looked after every hour; a schedule that is there already takes what is configured now. */
export async function scheduleMaintenance(
  client: Client,
  config: Config,
  settings: PipelineSettings,
): Promise<void> {
  const scheduled = {
    spec: { calendars: [HOURLY_AT] },
    action: {
      type: 'startWorkflow' as const,
      workflowType: 'maintain',
      workflowId: maintainId(settings.group, 'hour'),
      taskQueue: config.taskQueue,
      args: [inputOf(config, settings)],
      typedSearchAttributes: pipelineAttributes(settings),
    },
  }
  try {
    await client.schedule.create({
      scheduleId: scheduleId(settings.group),
      ...scheduled,
      state: { triggerImmediately: true },
    })
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error
    await client.schedule
      .getHandle(scheduleId(settings.group))
      .update(({ policies, state }) => ({ policies, state, ...scheduled }))
  }
}

/** What the schedule says; undefined where there is none. */
export async function scheduledMaintenance(
  client: Client,
  group: string,
): Promise<{ paused: boolean; retention: number | undefined } | undefined> {
  try {
    const { state, action } = await client.schedule.getHandle(scheduleId(group)).describe()
    const [input] = (action.args ?? []) as MaintainInput[]
    return { paused: state.paused, retention: input?.retention ?? undefined }
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) return undefined
    throw error
  }
}

async function unschedule(client: Client, { settings: { group } }: Config): Promise<void> {
  try {
    await client.schedule.getHandle(scheduleId(group)).delete()
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error
    throw new UserError(`No maintenance of "${group}" is scheduled.`)
  }
  console.log('The tables are looked after no more; "web-traffic start" has it done again.')
}
