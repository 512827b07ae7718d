import { setTimeout as sleep } from 'node:timers/promises'
import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client'
import { ApplicationFailure } from '@temporalio/common'
import { recountProgress } from '../contract/messages'

const POLL_INTERVAL = 500

/** Waits for a workflow's result; calls `onProgress` with a line each time its progress changes. */
export async function follow<T>(handle: WorkflowHandle, onProgress: (line: string) => void): Promise<T> {
  let ended = false
  const result = (handle.result() as Promise<T>).finally(() => (ended = true))
  result.catch(() => undefined)
  let reported = ''
  while (!ended) {
    await Promise.race([sleep(POLL_INTERVAL), result.catch(() => undefined)])
    const progress = ended ? reported : await handle.query(recountProgress).catch(() => reported)
    if (progress !== reported) onProgress(progress)
    reported = progress
  }
  return result
}

/** The message and the details of a workflow that failed with this type; throws any other error again. */
export function failureOfType<T>(error: unknown, type: string): { message: string; details: T } {
  const failure = error instanceof WorkflowFailedError ? error.cause : undefined
  if (!(failure instanceof ApplicationFailure) || failure.type !== type) throw error
  return { message: failure.message, details: failure.details![0] as T }
}
