import { proxyActivities } from '@temporalio/workflow'
import type { Activities } from '../contract/activities'

/** The short steps in Postgres. Temporal retries transient failures; `Retries` handles permanent ones. */
export const sink = proxyActivities<Activities>({
  startToCloseTimeout: '2m',
  heartbeatTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '10s' },
})
