import { setWorkflowOptions } from '@temporalio/workflow'
import type { Recovered, RecoverInput } from '../contract/activities'
import { formatInstant } from '../core/window/tumbling-window'
import { finishedByItsBuild } from './builds'
import { batches } from './recount'
import type { RecoverSummary } from '../contract/workflows'
import { counted } from '../core/numbers'

/** Writes to Postgres again what the histories of the pipeline's workflows say was written since a time. */
export async function recover(input: RecoverInput): Promise<RecoverSummary> {
  const summary = `write again what was written since ${formatInstant(input.since)}`
  const recovered = await batches.recoverWrites.executeWithOptions({ summary }, [input])
  return { summary: sentence(recovered), ...recovered }
}
setWorkflowOptions(finishedByItsBuild, recover)

function sentence(recovered: Recovered): string {
  const { windows, there, ranges, lateHits, contradictory, repaired = [], incomplete = [] } = recovered
  const again =
    repaired.length > 0
      ? ` Counted again from Kafka, since no history has all of them: ${counted(repaired.length, 'window')}.`
      : ''
  const lacking =
    incomplete.length > 0
      ? ` Not complete: ${incomplete.map(({ window, reason }) => `${window} (${reason})`).join('; ')}.`
      : ''
  const wrote =
    `Written again: ${counted(windows, 'window result')}, ${counted(ranges, 'range')} with late or rejected records, and ` +
    `${counted(lateHits, 'hit')} that came after their window had closed. Already there: ` +
    `${counted(there, 'window result')}.${again}${lacking}`
  if (contradictory.length === 0) return wrote
  return `${wrote} Not mended, since they were written anew after the loss: ${contradictory.join(', ')}.`
}
