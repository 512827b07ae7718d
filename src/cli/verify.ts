import {
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  WorkflowFailedError,
  type Client,
} from '@temporalio/client'
import { ApplicationFailure } from '@temporalio/common'
import { Command } from 'commander'
import { loadConfig, type Config } from '../config'
import { totalsOf } from '../core/window/ledger'
import { verifyId } from '../contract/ids'
import { formatInstant } from '../core/window/tumbling-window'
import { describeUnsettled } from '../contract/unsettled'
import { withTemporal } from '../temporal/connection'
import { DIFFERENCES } from '../contract/messages'
import { pipelineAttributes } from '../contract/search-attributes'
import { UserError } from '../errors'
import { PipelineClient } from '../pipeline/pipeline-client'
import {
  describeGone,
  describeLost,
  follow,
  nameOf,
  requireClosed,
  type SelectionFlags,
  selectionOf,
  withSelection,
} from './recount'
import { table } from '../terminal/table'
import type { Verified, VerifyInput, VerifySummary } from '../contract/workflows'
import { settingsOf, startOrJoin } from '../pipeline/workflow-runs'

interface Flags extends SelectionFlags {
  schedule?: true
  unschedule?: true
}

/** By the clock of UTC: late enough that the last window of the day before has closed. */
const DAILY_AT = { hour: 2, minute: 0 }

export function verifyCommand(): Command {
  return withSelection(new Command('verify'))
    .description(
      'count closed windows anew from Kafka and compare Postgres with it, row by row; fails where they differ',
    )
    .option('--schedule', 'from now on verify the day before, every night at 02:00 UTC')
    .option('--unschedule', 'no longer')
    .action(async (window: number | undefined, flags: Flags) => {
      const config = loadConfig()
      await withTemporal(async client => {
        if (flags.schedule) return schedule(client, config)
        if (flags.unschedule) return unschedule(client, config)
        const found = await verify(client, config, window, flags)
        if (!found) return
        const { right, wrong, gone, missing, lost = 0, unsettled = [] } = found
        const trouble = wrong + gone + missing.length + lost + unsettled.length
        requireClosed(window, right + trouble)
        const { windowSize } = await settingsOf(client, config)
        console.log(flags.json ? JSON.stringify(found, null, 2) : describe(found, windowSize))
        const isNamed = flags.from !== undefined || flags.to !== undefined
        const isEmpty = right + trouble === 0 && (isNamed || (await hasRead(client, config)))
        if (trouble > 0 || isEmpty) process.exitCode = 1
      })
    })
}

/** Whether anything was counted: then there should be a window. */
async function hasRead(client: Client, config: Config): Promise<boolean> {
  const { ledger } = await new PipelineClient(client, config).requireStatus()
  return totalsOf(ledger).records > 0
}

/** Undefined where nobody waits for it. */
async function verify(
  client: Client,
  config: Config,
  window: number | undefined,
  flags: Flags,
): Promise<VerifySummary | undefined> {
  const settings = await settingsOf(client, config)
  const selection = selectionOf(window, flags, settings)
  const name = nameOf(selection)
  const handle = await startOrJoin(client, config, settings, {
    type: 'verify',
    workflowId: verifyId(settings.group, name),
    input: { settings, selection } satisfies VerifyInput,
    summary: `verify ${name}`,
  })
  if (flags.detach) return undefined
  try {
    return await follow<VerifySummary>(handle)
  } catch (error) {
    const failure = error instanceof WorkflowFailedError ? error.cause : undefined
    if (!(failure instanceof ApplicationFailure) || failure.type !== DIFFERENCES) throw error
    return { summary: failure.message, ...(failure.details![0] as Verified) }
  }
}

async function schedule(client: Client, config: Config): Promise<void> {
  const settings = await settingsOf(client, config)
  const input: VerifyInput = { settings, selection: 'yesterday' }
  try {
    await client.schedule.create({
      scheduleId: verifyId(settings.group, 'daily'),
      spec: { calendars: [DAILY_AT] },
      action: {
        type: 'startWorkflow',
        workflowType: 'verify',
        workflowId: verifyId(settings.group, 'day'),
        taskQueue: config.taskQueue,
        args: [input],
        typedSearchAttributes: pipelineAttributes(settings),
      },
    })
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error
  }
  console.log(
    `Every night at 02:00 UTC the day before is verified; the Temporal Web UI has it under Schedules.`,
  )
}

async function unschedule(client: Client, { settings: { group } }: Config): Promise<void> {
  try {
    await client.schedule.getHandle(verifyId(group, 'daily')).delete()
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error
    throw new UserError(`No verification of "${group}" is scheduled.`)
  }
  console.log('No day is verified any more.')
}

function describe(found: VerifySummary, windowSize: number): string {
  const { summary, windows, gone, goneWindows, missing, lost: lostCount = 0, lostWindows = [] } = found
  const unsettled = (found.unsettled ?? []).map(window => describeUnsettled(window, windowSize))
  const unbalanced = windows.flatMap(({ start, balance }) =>
    balance ? [describeUnsettled({ start, since: start, balance }, windowSize)] : [],
  )
  const lost = [
    ...(unsettled.length + unbalanced.length > 0 ? ['', ...unsettled, ...unbalanced] : []),
    ...(missing.length > 0 ? ['', `Without a result: ${missing.join(', ')}`] : []),
    ...describeGone(gone, goneWindows),
    ...describeLost(lostCount, lostWindows),
  ]
  if (windows.length === 0) return [summary, ...lost].join('\n')
  const rows = windows.flatMap(({ start, stored, counted, differences, more }) => [
    [formatInstant(start), 'traffic_windows', '', '', '', stored, counted],
    ...differences.map(({ table, host, referrer, country = '', stored, counted }) => [
      formatInstant(start),
      table,
      host,
      referrer,
      country,
      stored,
      counted,
    ]),
    ...(more > 0 ? [[formatInstant(start), `and ${more} more`, '', '', '', null, null]] : []),
  ])
  return [
    summary,
    '',
    table(['window (UTC)', 'relation', 'host', 'referrer', 'country', 'Postgres', 'Kafka'], rows),
    ...lost,
  ].join('\n')
}
