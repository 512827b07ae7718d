import type { WorkflowExecutionDescription } from '@temporalio/client'
import { defaultPayloadConverter } from '@temporalio/common'

export type PendingActivity = NonNullable<WorkflowExecutionDescription['raw']['pendingActivities']>[number]

/** The details of an activity's last heartbeat. */
export function heartbeatOf<Details extends object>({ heartbeatDetails }: PendingActivity): Partial<Details> {
  const [payload] = heartbeatDetails?.payloads ?? []
  return (payload && defaultPayloadConverter.fromPayload<Details | null>(payload)) ?? {}
}
