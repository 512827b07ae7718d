import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import { getExternalWorkflowHandle, log, metricMeter, type SignalDefinition } from '@temporalio/workflow'

/** Signals another workflow; returns false if it is not running. */
export async function signalIfRunning<Args extends unknown[]>(
  workflowId: string,
  signal: SignalDefinition<Args>,
  ...args: Args
): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(workflowId).signal(signal, ...args)
    return true
  } catch (error) {
    metricMeter.createCounter('web_traffic_unheard_signals').add(1, { signal: signal.name })
    log.info('A signal did not arrive because its workflow has ended.', {
      workflowId,
      signal: signal.name,
      error,
    })
    return false
  }
}

/** Returns false if a workflow of this id is running already. */
export async function isStarted(child: Promise<unknown>): Promise<boolean> {
  try {
    await child
    return true
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return false
    throw error
  }
}
