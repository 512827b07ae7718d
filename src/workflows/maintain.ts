import { proxyActivities, setWorkflowOptions } from '@temporalio/workflow'
import type { Activities, Maintained, MaintainInput } from '../contract/activities'
import type { MaintainSummary } from '../contract/workflows'
import { counted } from '../core/numbers'
import { finishedByItsBuild } from './builds'

/** Maintenance is never urgent: its retries leave Postgres time. */
const { maintainTables } = proxyActivities<Activities>({
  startToCloseTimeout: '6h',
  heartbeatTimeout: '20s',
  retry: { initialInterval: '10s', maximumInterval: '10m' },
})

/** Creates partitions ahead, rolls up finished periods, and drops what is past retention; once. */
export async function maintain(input: MaintainInput): Promise<MaintainSummary> {
  const done = await maintainTables.executeWithOptions({ summary: 'partitions, totals, retention' }, [input])
  return { summary: describe(done), ...done }
}
setWorkflowOptions(finishedByItsBuild, maintain)

function describe({ sealed, months, lateHits }: Maintained): string {
  const { hour, day, month } = sealed
  const added = `${counted(hour, 'hour')}, ${counted(day, 'day')} and ${counted(month, 'month')}`
  const dropped = months.map(start => new Date(start).toISOString().slice(0, 7)).join(', ') || 'nothing'
  const late = lateHits > 0 ? ` ${lateHits} late events were past retention.` : ''
  return `Added up ${added}; dropped ${dropped}.${late}`
}
