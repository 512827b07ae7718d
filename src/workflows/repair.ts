import { ApplicationFailure, setHandler, setWorkflowOptions } from '@temporalio/workflow'
import type { RepairInput, RepairOutcome } from '../contract/activities'
import { joinSentences } from '../contract/markdown'
import { NOT_REPAIRED, recountProgress } from '../contract/messages'
import type { RepairSummary } from '../contract/workflows'
import { counted, grouped } from '../core/numbers'
import type { Sums } from '../core/window/protocol'
import { formatInstant, formatWindow } from '../core/window/tumbling-window'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { batches } from './recount'

/** How many ranges without records a failure names. */
const MAX_NAMED = 10

/** Counts one window again from the log and publishes it. Fails if it must not be published. */
export async function repair(input: RepairInput): Promise<RepairSummary> {
  const { settings, start } = input
  const name = formatWindow(start, settings.windowSize)
  let progress = `Counting ${name} again from Kafka.`
  setHandler(recountProgress, () => progress)
  describeWhenAsked(() => progress)
  const done = await batches.repairWindow.executeWithOptions({ summary: `repair ${name}` }, [input])
  progress = describe(name, start, done)
  if (done.outcome === 'refused' || done.outcome === 'incomplete')
    throw ApplicationFailure.nonRetryable(progress, NOT_REPAIRED, done)
  return { summary: progress, start, ...done }
}
setWorkflowOptions(finishedByItsBuild, repair)

function describe(name: string, start: number, done: RepairOutcome): string {
  if (done.outcome === 'refused') return `${name} cannot be repaired. ${done.reason}`
  if (done.outcome === 'incomplete')
    return joinSentences(
      `${name} was not changed.`,
      `It should have ${sums(done.told)}, and Kafka has ${sums(done.found)}.`,
      whyIncomplete(done.gone),
      'To publish what Kafka still has and give up the rest for good, run',
      `"web-traffic repair ${formatInstant(start)} --accept-loss".`,
    )
  const { outcome, revision, hits, hitsBefore, lost } = done
  return joinSentences(
    outcome === 'unchanged'
      ? `${name} was already right, with ${counted(hits, 'hit')} as revision ${revision}.`
      : `${name} now has ${counted(hits, 'hit')}, ${grouped(hitsBefore)} before, as revision ${revision}.`,
    lost.hits + lost.exceptions > 0 && `Accepted as lost: ${sums(lost)}.`,
  )
}

function sums({ hits, exceptions }: Sums): string {
  return `${counted(hits, 'hit')} and ${counted(exceptions, 'late or rejected record')}`
}

function whyIncomplete(gone: Extract<RepairOutcome, { outcome: 'incomplete' }>['gone']): string {
  if (gone.length === 0)
    return 'Kafka has other records at its offsets: they were compacted, or the topic was deleted and re-created.'
  const ranges = gone.slice(0, MAX_NAMED).map(({ partition, from, to }) => {
    return `partition ${partition}, offsets ${from} to ${to - 1}`
  })
  const more = gone.length > MAX_NAMED ? `, and ${gone.length - MAX_NAMED} more` : ''
  return `Kafka no longer has its records: ${ranges.join('; ')}${more}.`
}
