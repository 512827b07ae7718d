import { ScheduleAlreadyRunning, ScheduleNotFoundError, type Client } from '@temporalio/client'
import type { Config } from '../config'
import { verifyId } from '../contract/ids'
import { DIFFERENCES } from '../contract/messages'
import { pipelineAttributes } from '../contract/search-attributes'
import type { Verified, VerifyInput, VerifySummary } from '../contract/workflows'
import { totalsOf } from '../core/window/ledger'
import { UserError } from '../errors'
import { requireFound, selectionName, selectionOf, type WindowChoice } from './closed-windows'
import { PipelineClient } from './pipeline-client'
import { failureOfType, follow } from './workflow-results'
import { settingsOf, startOrJoin } from './workflow-runs'

export interface Verification {
  summary: VerifySummary
  /** Whether anything differs, or nothing was compared although there should be windows. */
  failed: boolean
  windowSize: number
}

/** UTC; late enough for the last window of the previous day to have closed. */
const DAILY_AT = { hour: 2, minute: 0 }

/**
 * Counts the chosen windows again from Kafka and compares Postgres with the result.
 *
 * @param detach return undefined once the workflow has started
 * @throws UserError if a single window was chosen that is not closed
 */
export async function verify(
  client: Client,
  config: Config,
  choice: WindowChoice & { detach?: true },
  onProgress: (line: string) => void,
): Promise<Verification | undefined> {
  const settings = await settingsOf(client, config)
  const selection = selectionOf(choice, settings)
  const name = selectionName(selection)
  const handle = await startOrJoin(client, config, settings, {
    type: 'verify',
    workflowId: verifyId(settings.group, name),
    input: { settings, selection } satisfies VerifyInput,
    summary: `verify ${name}`,
  })
  if (choice.detach) return undefined
  const summary = await follow<VerifySummary>(handle, onProgress).catch((error: unknown) => {
    const { message, details } = failureOfType<Verified>(error, DIFFERENCES)
    return { summary: message, ...details }
  })
  const { right, wrong, gone, missing, lost = 0, unsettled = [] } = summary
  const troubles = wrong + gone + missing.length + lost + unsettled.length
  requireFound(choice, right + troubles)
  const isRange = choice.from !== undefined || choice.to !== undefined
  const isEmpty = right + troubles === 0 && (isRange || (await hasCounted(client, config)))
  return { summary, failed: troubles > 0 || isEmpty, windowSize: settings.windowSize }
}

async function hasCounted(client: Client, config: Config): Promise<boolean> {
  const { ledger } = await new PipelineClient(client, config).requireStatus()
  return totalsOf(ledger).records > 0
}

/** Schedules a verification of the previous day every night; does nothing if it is scheduled already. */
export async function scheduleVerification(client: Client, config: Config): Promise<void> {
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
}

/** @throws UserError if no verification is scheduled */
export async function unscheduleVerification(client: Client, { settings: { group } }: Config): Promise<void> {
  try {
    await client.schedule.getHandle(verifyId(group, 'daily')).delete()
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error
    throw new UserError(`No verification of "${group}" is scheduled.`)
  }
}
