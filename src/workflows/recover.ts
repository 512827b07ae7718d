import { setWorkflowOptions } from '@temporalio/workflow'
import { counted } from '../core/numbers'
import type { Recovered, RecoverInput } from '../contract/activities'
import { joinSentences } from '../contract/markdown'
import type { RecoverSummary } from '../contract/workflows'
import { formatInstant } from '../core/window/tumbling-window'
import { finishedByItsBuild } from './builds'
import { batches } from './recount'

/** Repeats the writes to Postgres that the histories of the pipeline's workflows show since a given time. */
export async function recover(input: RecoverInput): Promise<RecoverSummary> {
  const summary = `repeat the writes since ${formatInstant(input.since)}`
  const recovered = await batches.recoverWrites.executeWithOptions({ summary }, [input])
  return { summary: describe(recovered), ...recovered }
}
setWorkflowOptions(finishedByItsBuild, recover)

function describe(recovered: Recovered): string {
  const { windows, there, ranges, lateHits, contradictory, repaired = [], incomplete = [] } = recovered
  return joinSentences(
    `${counted(windows, 'window result')}, ${counted(ranges, 'range')} with late or rejected records and ` +
      `${counted(lateHits, 'hit')} that came after their window had closed were written again; ${counted(there, 'result')} ` +
      'were already there.',
    repaired.length > 0 &&
      `${counted(repaired.length, 'window')} without a complete history were counted again from Kafka.`,
    incomplete.length > 0 &&
      `Incomplete: ${incomplete.map(({ window, reason }) => `${window} (${reason})`).join('; ')}.`,
    contradictory.length > 0 &&
      `Not restored, because newer results replaced them after the loss: ${contradictory.join(', ')}.`,
  )
}
