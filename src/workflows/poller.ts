import {
  ActivityCancellationType,
  CancellationScope,
  continueAsNew,
  getExternalWorkflowHandle,
  proxyActivities,
  setHandler,
} from '@temporalio/workflow'
import type { Activities, PollInput } from '../contract/activities'
import { ingestId, pollerTaskQueue } from '../contract/ids'
import { drain, pollerEnded } from '../contract/messages'

/** An activity ends only when its worker shuts down, so one run lasts this many worker restarts. */
const ACTIVITIES_PER_RUN = 200

/**
 * Keeps one `pollKafka` activity running until the drain signal. It is separate from the ledger because an activity
 * ends with the run that started it, and the ledger continues as new often.
 */
export async function poller(input: PollInput): Promise<void> {
  const { pollKafka } = proxyActivities<Activities>({
    taskQueue: pollerTaskQueue(input.taskQueue),
    startToCloseTimeout: '365d',
    heartbeatTimeout: '7s',
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    // Any Kafka failure ends the attempt, visibly; the next attempt has a new consumer.
    retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '3s' },
    summary: `poller ${input.poller} of ${input.settings.topic}`,
  })
  const polling = new CancellationScope()
  let draining = false
  setHandler(drain, () => {
    draining = true
    polling.cancel()
  })
  const ended = () =>
    getExternalWorkflowHandle(ingestId(input.settings.group)).signal(pollerEnded, input.poller)

  for (let n = 0; !draining && n < ACTIVITIES_PER_RUN; n++) {
    try {
      await polling.run(() => pollKafka(input))
    } catch (error) {
      // After a drain signal any end will do: the next poller reads what is not done.
      if (draining) break
      await CancellationScope.nonCancellable(ended)
      throw error
    }
  }
  if (!draining) await continueAsNew<typeof poller>(input)
  await CancellationScope.nonCancellable(ended)
}
