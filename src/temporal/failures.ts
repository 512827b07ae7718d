import { status } from '@grpc/grpc-js'
import {
  isGrpcServiceError,
  WorkflowFailedError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client'
import { NamespaceNotFoundError, WorkflowNotFoundError } from '@temporalio/common'
import { causes, firstLine } from '../errors'
import { noNamespace, refusal, type TemporalConfig } from './connection'

const AGAIN =
  'Run "web-traffic status" to see what keeps the pipeline from answering, then repeat the command.'

/**
 * Why a call to Temporal or one of the pipeline's workflows failed, as one line with what to do.
 *
 * @returns undefined if the error has another cause
 */
export function temporalFailure(error: unknown, config: TemporalConfig): string | undefined {
  if (error instanceof WorkflowFailedError || error instanceof WorkflowUpdateFailedError)
    return `${firstLine(error)}: ${firstLine(causes(error).at(-1))}. Fix the cause, then repeat the command.`
  if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError)
    return `The ledger did not answer in time. ${AGAIN}`
  if (error instanceof WorkflowNotFoundError)
    return `The workflow "${error.workflowId}" has ended, or Temporal has deleted it. ${AGAIN}`
  if (causes(error).some(cause => cause instanceof NamespaceNotFoundError))
    return noNamespace(config.namespace)
  const failure = causes(error).find(isGrpcServiceError)
  if (!failure) return undefined
  const refused = refusal(error, config)
  if (refused) return refused.message
  const server = `Temporal at ${config.connectionOptions.address ?? 'localhost:7233'}`
  switch (failure.code) {
    case status.CANCELLED:
    case status.DEADLINE_EXCEEDED:
      return `${server} did not answer in time (${failure.details}). ${AGAIN}`
    case status.UNAVAILABLE:
      return `${server} is unavailable (${failure.details}). Check the server, then repeat the command.`
    case status.RESOURCE_EXHAUSTED:
      return `${server} refuses the call (${failure.details}). Wait, or raise the limit of the namespace "${config.namespace}".`
    default:
      return `${server} failed (${status[failure.code]}: ${failure.details}). Run "web-traffic doctor".`
  }
}
