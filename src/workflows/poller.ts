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

/** An activity ends only when its worker shuts down, so this many rolling restarts fit in one run. */
const ACTIVITIES_PER_RUN = 200

/**
 * Keeps one `pollKafka` activity running until it is told to drain. It has a workflow of its own because an
 * activity belongs to the run that started it: the ledger continues as new far more often.
 */
export async function poller(input: PollInput): Promise<void> {
  const { pollKafka } = proxyActivities<Activities>({
    taskQueue: pollerTaskQueue(input.taskQueue),
    startToCloseTimeout: '365d',
    heartbeatTimeout: '7s',
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    // Whatever goes wrong with Kafka ends the attempt, in sight; the next one has a consumer of its own.
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
      // However the activity ended after a drain was asked for: what it had not said done is read by the next one.
      if (draining) break
      await CancellationScope.nonCancellable(ended)
      throw error
    }
  }
  if (!draining) await continueAsNew<typeof poller>(input)
  await CancellationScope.nonCancellable(ended)
}
