import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApplicationFailure, WorkflowNotFoundError, type UpdateDefinition } from '@temporalio/common'
import { WorkflowUpdateFailedError, isGrpcServiceError, type WorkflowHandle } from '@temporalio/client'
import { MessageTooLargeError } from './message-bounds'
import { wake } from '../contract/messages'

/** gRPC status codes after which the same call cannot succeed (grpc.io, "Status codes"). */
const NON_RETRYABLE_CODES = new Set([
  3 /* INVALID_ARGUMENT */, 5 /* NOT_FOUND */, 7 /* PERMISSION_DENIED */, 16 /* UNAUTHENTICATED */,
])

const FIRST_WAIT = 50
const LONGEST_WAIT = 3_000
/** Until then a server that restarts is back. */
const NOTICED_AFTER = 10_000
const SAID_EVERY = 60_000
/** Far longer than an update takes, where all is well. */
const FIRST_WAKE = 2_000

/** A call that is repeated. */
export interface PendingRetry {
  /** Who does not do what it is asked; absent in what an older release says. */
  on?: RetryTarget
  /** Epoch ms. */
  since: number
  /** What the last try failed with. */
  reason: string
}

export type RetryTarget = 'Temporal' | 'Postgres' | 'a window'

/** The calls that are being repeated, and a line about those that are for long. */
export class PendingRetries {
  private readonly all = new Set<PendingRetry>()
  private said = 0

  constructor(
    private readonly warn: (wait: PendingRetry) => void,
    private readonly noticedAfter = NOTICED_AFTER,
  ) {}

  failed(wait: PendingRetry): void {
    this.all.add(wait)
    if (!this.isLong(wait) || Date.now() - this.said < SAID_EVERY) return
    this.said = Date.now()
    this.warn(wait)
  }

  ended(wait: PendingRetry): void {
    this.all.delete(wait)
  }

  /** One that has not been answered for long. */
  get long(): PendingRetry | undefined {
    return [...this.all].find(wait => this.isLong(wait))
  }

  private isLong({ since }: PendingRetry): boolean {
    return Date.now() - since >= this.noticedAfter
  }
}

/**
 * Repeats a call to Temporal until it succeeds, however long Temporal is away; what it is called with must be
 * safe to repeat. Ends early only when it cannot succeed, or when `signal` aborts.
 */
export async function untilAnswered<T>(
  call: () => Promise<T>,
  signal: AbortSignal,
  waits?: PendingRetries,
  on: RetryTarget = 'Temporal',
): Promise<T> {
  const repeated: PendingRetry = { on, since: Date.now(), reason: '' }
  try {
    for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
      signal.throwIfAborted()
      try {
        return await call()
      } catch (error) {
        if (isNonRetryable(error)) throw error
        repeated.reason = reasonOf(error)
        waits?.failed(repeated)
        await sleep(wait, undefined, { signal })
      }
    }
  } finally {
    waits?.ended(repeated)
  }
}

/** What the server says, which the client's own message does not. */
function reasonOf(error: unknown): string {
  const cause = causeOf(error)
  if (isGrpcServiceError(cause)) return cause.details || cause.message
  return cause instanceof Error ? cause.message : String(cause)
}

function causeOf(error: unknown): unknown {
  return error instanceof Error && isGrpcServiceError(error.cause) ? error.cause : error
}

function isNonRetryable(error: unknown): boolean {
  if (error instanceof WorkflowUpdateFailedError || error instanceof WorkflowNotFoundError) return true
  if (
    error instanceof ApplicationFailure ||
    error instanceof TypeError ||
    error instanceof MessageTooLargeError
  )
    return true
  const cause = causeOf(error)
  return isGrpcServiceError(cause) && (NON_RETRYABLE_CODES.has(cause.code) || isTooLarge(cause.details))
}

/** It is as large the next time: grpc-go's and the server's own words (RESOURCE_EXHAUSTED is no permanent code). */
function isTooLarge(details: string): boolean {
  return /larger than max|exceeds limit|too large/i.test(details)
}

/**
 * Sends an update until it is answered, always under one id, so that the run that took it in answers it once.
 *
 * The task by which an update alone wakes its workflow exists in the server's memory only. Each answer to such a task
 * that has been given up meanwhile makes the server forget the present one too, with the updates in it (Server 1.32:
 * "workflow update was aborted"); with many slow workers that went on without end. A signal wakes the workflow with a
 * task that is stored, and the updates go with it: one is sent where an answer takes long.
 */
export async function updateUntilAnswered<Ret, Arg>(
  handle: WorkflowHandle,
  update: UpdateDefinition<Ret, [Arg]>,
  arg: Arg,
  signal: AbortSignal,
  waits?: PendingRetries,
): Promise<Ret> {
  const updateId = randomUUID()
  const answered = new AbortController()
  void keepWaking(handle, answered.signal)
  try {
    return await untilAnswered(() => handle.executeUpdate(update, { args: [arg], updateId }), signal, waits)
  } finally {
    answered.abort()
  }
}

/** Ever more rarely, because a run bears 10,000 signals and there may be no worker for hours. */
async function keepWaking(handle: WorkflowHandle, signal: AbortSignal): Promise<void> {
  for (let wait = FIRST_WAKE; !signal.aborted; wait *= 2) {
    await sleep(wait, undefined, { signal }).catch(() => undefined)
    // What keeps a signal from arriving is what the update itself waits for.
    if (!signal.aborted) await handle.signal(wake).catch(() => undefined)
  }
}
