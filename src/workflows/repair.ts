import { ApplicationFailure, setHandler, setWorkflowOptions } from '@temporalio/workflow'
import type { RepairInput, RepairOutcome } from '../contract/activities'
import { formatInstant, formatWindow } from '../core/window/tumbling-window'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { NOT_REPAIRED, recountProgress } from '../contract/messages'
import { batches } from './recount'
import type { RepairSummary } from '../contract/workflows'
import { counted, grouped } from '../core/numbers'

/** Partitions that are named. */
const NAMED = 10

/** Counts one window again from the log and publishes it. Fails where it must not be published. */
export async function repair(input: RepairInput): Promise<RepairSummary> {
  const { settings, start } = input
  const name = formatWindow(start, settings.windowSize)
  let progress = `Counting ${name} again from Kafka.`
  setHandler(recountProgress, () => progress)
  describeWhenAsked(() => progress)
  const done = await batches.repairWindow.executeWithOptions({ summary: `repair ${name}` }, [input])
  progress = sentence(name, start, done)
  if (done.outcome === 'refused' || done.outcome === 'incomplete')
    throw ApplicationFailure.nonRetryable(progress, NOT_REPAIRED, done)
  return { summary: progress, start, ...done }
}
setWorkflowOptions(finishedByItsBuild, repair)

function sentence(name: string, start: number, done: RepairOutcome): string {
  if (done.outcome === 'refused') return `${name} cannot be repaired. ${done.reason}`
  if (done.outcome === 'incomplete') return incomplete(name, start, done)
  const { outcome, revision, hits, hitsBefore, lost } = done
  const accepted =
    lost.hits > 0 || lost.exceptions > 0
      ? ` ${counted(lost.hits, 'hit')} and ${counted(lost.exceptions, 'late or rejected record')} were accepted as lost.`
      : ''
  if (outcome === 'unchanged')
    return `${name} was right already, with ${counted(hits, 'hit')} as revision ${revision}.${accepted}`
  return `${name} has ${counted(hits, 'hit')} now, ${grouped(hitsBefore)} before, as revision ${revision}.${accepted}`
}

function incomplete(
  name: string,
  start: number,
  { told, found, gone }: Extract<RepairOutcome, { outcome: 'incomplete' }>,
): string {
  const named = gone.slice(0, NAMED).map(({ partition, from, to }) => {
    return `partition ${partition}, offsets ${from} to ${to - 1}`
  })
  const more = gone.length > NAMED ? `, and ${gone.length - NAMED} more` : ''
  const why =
    gone.length > 0
      ? `Kafka no longer has its records: ${named.join('; ')}${more}.`
      : 'Kafka has other records at its offsets: they were compacted, or the topic was deleted and re-created.'
  return (
    `${name} was not changed. It should have ${counted(told.hits, 'hit')} and ${counted(told.exceptions, 'late or rejected record')}, ` +
    `and Kafka has ${grouped(found.hits)} and ${grouped(found.exceptions)}. ${why} To publish what is left, and ` +
    `give up the rest for good: "web-traffic repair ${formatInstant(start)} --accept-loss".`
  )
}
