import { proxyActivities, setWorkflowOptions } from '@temporalio/workflow'
import type { Activities } from '../contract/activities'
import { groupsOf } from '../core/counts/columnar'
import type { RangeExceptions } from '../core/window/protocol'
import type { PipelineSettings } from '../core/settings'
import { finishedByItsBuild } from './builds'
import { untilRecorded } from './recording'

const { recordExceptions } = proxyActivities<Activities>({
  startToCloseTimeout: '2m',
  heartbeatTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '10s' },
})

export interface ExceptionsInput {
  settings: PipelineSettings
  ranges: RangeExceptions[]
}

/** The late and rejected records of one flush, on their way to Postgres while reading goes on. */
export async function exceptions(input: ExceptionsInput): Promise<string> {
  const summary = describeExceptions(input.ranges)
  const recorded = await untilRecorded(summary, () =>
    recordExceptions.executeWithOptions({ summary }, [input]),
  )
  return `${recorded} of ${input.ranges.length} ranges recorded; the others had been before.`
}
setWorkflowOptions(finishedByItsBuild, exceptions)

/** `2 late groups, 3 rejected records in 2 ranges`: for people. */
function describeExceptions(ranges: RangeExceptions[]): string {
  let late = 0
  let rejected = 0
  for (const range of ranges) {
    for (const counts of range.late) late += groupsOf(counts)
    for (const records of Object.values(range.rejected)) rejected += records
  }
  return `${late} late groups and ${rejected} rejected records in ${ranges.length} ranges`
}
