import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { status } from '@grpc/grpc-js'
import { ApplicationFailure, WorkflowNotFoundError, type UpdateDefinition } from '@temporalio/common'
import { WorkflowUpdateFailedError, isGrpcServiceError, type WorkflowHandle } from '@temporalio/client'
import { wake } from '../contract/messages'
import { messageOf } from '../errors'
import { MessageTooLargeError } from './message-bounds'

const PERMANENT_CODES: number[] = [
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
]
const PERMANENT_ERRORS = [
  WorkflowUpdateFailedError,
  WorkflowNotFoundError,
  ApplicationFailure,
  MessageTooLargeError,
  TypeError,
]
const FIRST_WAIT = 50
const MAX_WAIT = 3_000
/** Longer than a restart of the server takes, ms. */
const OVERDUE_AFTER = 10_000
const WARN_EVERY = 60_000
/** Far longer than an update takes while everything is healthy, ms. */
const FIRST_WAKE = 2_000

export interface PendingRetry {
  /** What the call waits for; older releases do not set it. */
  on?: RetryTarget
  /** Epoch milliseconds. */
  since: number
  reason: string
}

export type RetryTarget = 'Temporal' | 'Postgres' | 'a window'

/** The calls that are being retried. Warns at most once a minute about one that is overdue. */
export class PendingRetries {
  private readonly pending = new Set<PendingRetry>()
  private lastWarning = 0

  constructor(
    private readonly warn: (retry: PendingRetry) => void,
    private readonly overdueAfter = OVERDUE_AFTER,
  ) {}

  failed(retry: PendingRetry): void {
    this.pending.add(retry)
    if (!this.isOverdue(retry) || Date.now() - this.lastWarning < WARN_EVERY) return
    this.lastWarning = Date.now()
    this.warn(retry)
  }

  ended(retry: PendingRetry): void {
    this.pending.delete(retry)
  }

  /** A call that has been retried for ten seconds or more. */
  get overdue(): PendingRetry | undefined {
    return [...this.pending].find(retry => this.isOverdue(retry))
  }

  private isOverdue({ since }: PendingRetry): boolean {
    return Date.now() - since >= this.overdueAfter
  }
}

/**
 * Retries an idempotent call until it succeeds, however long Temporal is down.
 *
 * @throws the call's error if it is permanent, or the reason of `signal`
 */
export async function untilAnswered<T>(
  call: () => Promise<T>,
  signal: AbortSignal,
  retries?: PendingRetries,
  on: RetryTarget = 'Temporal',
): Promise<T> {
  const retry: PendingRetry = { on, since: Date.now(), reason: '' }
  try {
    for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, MAX_WAIT)) {
      signal.throwIfAborted()
      try {
        return await call()
      } catch (error) {
        if (isPermanent(error)) throw error
        const cause = grpcErrorOf(error)
        // The client's own message does not contain the server's details.
        retry.reason = cause?.details || messageOf(cause ?? error)
        retries?.failed(retry)
        await sleep(wait, undefined, { signal })
      }
    }
  } finally {
    retries?.ended(retry)
  }
}

/** The client wraps most errors of gRPC. */
function grpcErrorOf(error: unknown) {
  return [error, error instanceof Error && error.cause].find(isGrpcServiceError)
}

function isPermanent(error: unknown): boolean {
  if (PERMANENT_ERRORS.some(type => error instanceof type)) return true
  const { code, details } = grpcErrorOf(error) ?? {}
  // For messages that are too large, grpc-go and the server use RESOURCE_EXHAUSTED, which is transient otherwise.
  return PERMANENT_CODES.includes(code!) || /larger than max|exceeds limit|too large/i.test(details ?? '')
}

/**
 * Repeats an update under one id until it is answered, so that a run that received it handles it once.
 *
 * An update alone wakes its workflow with a task that the server keeps in memory only, and can lose with the updates in
 * it: Server 1.32 drops the current task when a worker answers an earlier one that had timed out ("workflow update was
 * aborted"). The task of a signal is stored, and carries the updates too, so slow updates send signals.
 */
export async function updateUntilAnswered<Ret, Arg>(
  handle: WorkflowHandle,
  update: UpdateDefinition<Ret, [Arg]>,
  arg: Arg,
  signal: AbortSignal,
  retries?: PendingRetries,
  firstWake = FIRST_WAKE,
): Promise<Ret> {
  const updateId = randomUUID()
  const answered = new AbortController()
  void keepWaking(handle, answered.signal, firstWake)
  try {
    return await untilAnswered(() => handle.executeUpdate(update, { args: [arg], updateId }), signal, retries)
  } finally {
    answered.abort()
  }
}

/** Doubles the wait each time, because a run accepts only 10,000 signals and may have no worker for hours. */
async function keepWaking(handle: WorkflowHandle, signal: AbortSignal, firstWait: number): Promise<void> {
  for (let wait = firstWait; !signal.aborted; wait *= 2) {
    await sleep(wait, undefined, { signal }).catch(() => undefined)
    // The update itself reports why the workflow cannot be reached.
    if (!signal.aborted) await handle.signal(wake).catch(() => undefined)
  }
}
