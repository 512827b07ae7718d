import { proxyActivities, setWorkflowOptions } from '@temporalio/workflow'
import type { Activities, Maintained, MaintainInput } from '../contract/activities'
import { finishedByItsBuild } from './builds'
import type { MaintainSummary } from '../contract/workflows'
import { counted } from '../core/numbers'

/** Waits a while where it is in the way of others: what it is for has time. */
const { maintainTables } = proxyActivities<Activities>({
  startToCloseTimeout: '6h',
  heartbeatTimeout: '20s',
  retry: { initialInterval: '10s', maximumInterval: '10m' },
})

/** Has the tables in Postgres looked after, once. */
export async function maintain(input: MaintainInput): Promise<MaintainSummary> {
  const done = await maintainTables.executeWithOptions({ summary: 'partitions, totals, retention' }, [input])
  return { summary: sentence(done), ...done }
}
setWorkflowOptions(finishedByItsBuild, maintain)

function sentence({ sealed, months, lateHits }: Maintained): string {
  const { hour, day, month } = sealed
  const dropped = months.map(start => new Date(start).toISOString().slice(0, 7))
  const late = lateHits > 0 ? ` Past retention: ${counted(lateHits, 'late event')}.` : ''
  const added = `${counted(hour, 'hour')}, ${counted(day, 'day')} and ${counted(month, 'month')}`
  return `Added up ${added}; dropped ${dropped.join(', ') || 'nothing'}.${late}`
}
