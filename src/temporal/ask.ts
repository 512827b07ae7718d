import { status } from '@grpc/grpc-js'
import {
  isGrpcServiceError,
  QueryNotRegisteredError,
  QueryRejectedError,
  type Client,
  type WorkflowExecutionDescription,
  type WorkflowHandle,
} from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import { formatInstant } from '../core/window/tumbling-window'
import { causes, reasonOf, UserError } from '../errors'
import { REPLAYING_BUILD, whyBlocked } from './blocked'
import { describeQueue, WORKFLOW_TASKS } from './task-queues'

/** Number of Temporal's API: VersioningBehavior. */
const PINNED = 1

/** A busy worker answers a query within a second or two, ms. */
const ANSWER_WITHIN = 6_000

/** Of a query that no worker answers. The last one stands for a workflow whose task fails. */
const UNANSWERED: number[] = [status.CANCELLED, status.DEADLINE_EXCEEDED, status.FAILED_PRECONDITION]

/**
 * Asks a workflow.
 *
 * @param name of the workflow, at the start of a sentence
 * @param within ms
 * @returns undefined if there is no such workflow
 * @throws UserError that says why it does not answer, and what to do
 */
export async function ask<T>(
  client: Client,
  handle: WorkflowHandle,
  name: string,
  query: (handle: WorkflowHandle) => Promise<T>,
  within = ANSWER_WITHIN,
): Promise<T | undefined> {
  try {
    return await ifFound(client.withDeadline(Date.now() + within, () => query(handle)))
  } catch (error) {
    const isRefused = error instanceof QueryNotRegisteredError || error instanceof QueryRejectedError
    const isSilent = causes(error).some(cause => isGrpcServiceError(cause) && UNANSWERED.includes(cause.code))
    if (!isRefused && !isSilent) throw error
    const found = await handle.describe()
    const blocked = await whyBlocked(client, found)
    if (blocked) throw new UserError(`${name} ${blocked}`)
    throw new UserError(isRefused ? cannotReplay(name, error) : await explainSilence(client, name, found))
  }
}

/** Undefined if there is no such workflow. */
export async function ifFound<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined
    throw error
  }
}

/** A paused workflow has not ended either. */
export function isOpen({ status }: WorkflowExecutionDescription): boolean {
  return status.name === 'RUNNING' || status.name === 'PAUSED'
}

/** A worker's code can fail to replay the workflow for a query before a task shows it. */
function cannotReplay(name: string, error: Error): string {
  return `${name} does not answer, because the worker's code does not replay it: ${reasonOf(error)}. ${REPLAYING_BUILD}`
}

async function explainSilence(
  client: Client,
  name: string,
  { taskQueue, raw }: WorkflowExecutionDescription,
): Promise<string> {
  const { workers, currentBuild } = await describeQueue(client, taskQueue, WORKFLOW_TASKS)
  const queue = `the task queue "${taskQueue}" (TEMPORAL_TASK_QUEUE) of the namespace "${client.options.namespace}"`
  const start = 'start one with "web-traffic worker", with role windows or all'
  if (workers.length === 0) return `No worker answers on ${queue}: ${start}.`
  const { behavior, deploymentVersion } = raw.workflowExecutionInfo?.versioningInfo ?? {}
  const build = Number(behavior) === PINNED ? deploymentVersion?.buildId : currentBuild
  const able = workers.filter(worker => worker.build === (build ?? undefined))
  if (able.length === 0)
    return (
      `${name} waits for a worker with ${buildName(build)}, but the workers on ${queue} have ` +
      `${buildName(workers[0]!.build)}: start one with ${buildName(build)}, or make another build current ` +
      '(docs/changing-workflows.md).'
    )
  const { identity, polledAt } = able.sort((a, b) => b.polledAt - a.polledAt)[0]!
  return (
    `${name} does not answer, though the worker ${identity} polled ${queue} at ${formatInstant(polledAt)}. If that worker ` +
    `runs, it is busy: wait, or start another one. If it has ended, ${start}.`
  )
}

const buildName = (build: string | null | undefined) =>
  build ? `WORKER_BUILD_ID=${build}` : 'no WORKER_BUILD_ID'
