import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from '@jest/globals'
import { ServiceError, WorkflowUpdateFailedError, type WorkflowHandle } from '@temporalio/client'
import { ApplicationFailure, WorkflowNotFoundError } from '@temporalio/common'
import { untilAnswered, updateUntilAnswered, PendingRetries } from '../../src/temporal/retry'
import { flush, wake } from '../../src/contract/messages'
import { until } from '../support/until'
import { grpcError } from '../activities/support'

const never = new AbortController().signal

/** Fails with each of these errors in turn, then answers. */
function answersAfter(...errors: Error[]) {
  let calls = 0
  const call = () => {
    const error = errors[calls++]
    return error ? Promise.reject(error) : Promise.resolve('answer')
  }
  return { call, calls: () => calls }
}

const asIs = (error: Error) => error
const wrapped = (cause: Error) => new ServiceError('Failed to signal Workflow', { cause })

describe.each([
  ['thrown by gRPC', asIs],
  ['wrapped by the client', wrapped],
])('an error %s', (_, given) => {
  test.each([
    'UNAVAILABLE',
    'DEADLINE_EXCEEDED',
    'RESOURCE_EXHAUSTED',
    'CANCELLED',
    'INTERNAL',
    'UNKNOWN',
  ] as const)('is retried if it is %s', async code => {
    const error = given(grpcError(code))
    const { call, calls } = answersAfter(error, error)
    expect(await untilAnswered(call, never)).toBe('answer')
    expect(calls()).toBe(3)
  })

  test.each(['NOT_FOUND', 'INVALID_ARGUMENT', 'PERMISSION_DENIED', 'UNAUTHENTICATED'] as const)(
    'is not retried if it is %s',
    async code => {
      const error = given(grpcError(code))
      const { call, calls } = answersAfter(error)
      await expect(untilAnswered(call, never)).rejects.toBe(error)
      expect(calls()).toBe(1)
    },
  )
})

test.each([
  ['a missing workflow', new WorkflowNotFoundError('not found', 'id', undefined)],
  ['a failed update', new WorkflowUpdateFailedError('failed', ApplicationFailure.create({}))],
  ['an application failure', ApplicationFailure.create({ message: 'wrong' })],
  ['a bug in the program', new TypeError('undefined is not a function')],
])('%s is not retried', async (_, error) => {
  const { call, calls } = answersAfter(grpcError('UNAVAILABLE'), error)
  await expect(untilAnswered(call, never)).rejects.toBe(error)
  expect(calls()).toBe(2)
})

test('an abort ends the wait between two calls', async () => {
  const given = new AbortController()
  let calls = 0
  const call = () => {
    calls++
    setImmediate(() => given.abort())
    return Promise.reject(grpcError('UNAVAILABLE'))
  }
  await expect(untilAnswered(call, given.signal)).rejects.toMatchObject({ name: 'AbortError' })
  expect(calls).toBe(1)
})

test('an aborted signal prevents the first call', async () => {
  const { call, calls } = answersAfter()
  await expect(untilAnswered(call, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' })
  expect(calls()).toBe(0)
})

/** A workflow that handles updates only after a signal has woken it. */
function asleep() {
  const signals: unknown[] = []
  let woken!: (answer: string) => void
  const answer = new Promise<string>(resolve => (woken = resolve))
  const handle = {
    executeUpdate: () => answer,
    signal: (name: unknown) => {
      signals.push(name)
      woken('answer')
      return Promise.resolve()
    },
  } as unknown as WorkflowHandle
  return { handle, signals }
}

const FIRST_WAKE = 40
const update = (handle: WorkflowHandle) =>
  updateUntilAnswered(handle, flush, {} as never, never, undefined, FIRST_WAKE)

test('a slow update sends a signal, and none after its answer', async () => {
  const { handle, signals } = asleep()
  const started = performance.now()
  expect(await update(handle)).toBe('answer')
  // Timers can fire a millisecond early.
  expect(performance.now() - started).toBeGreaterThanOrEqual(FIRST_WAKE - 1)
  // The next one would follow after twice the wait.
  await sleep(4 * FIRST_WAKE)
  expect(signals).toEqual([wake])
})

test('an update without an answer sends signals at growing intervals', async () => {
  const { handle } = asleep()
  const sent: number[] = []
  let answer!: (text: string) => void
  handle.executeUpdate = () => new Promise<never>(resolve => (answer = resolve as unknown as typeof answer))
  handle.signal = () => {
    if (sent.push(performance.now()) === 3) answer('at last')
    return Promise.resolve()
  }
  expect(await update(handle)).toBe('at last')
  expect(sent[1]! - sent[0]!).toBeGreaterThanOrEqual(2 * FIRST_WAKE - 1)
  expect(sent[2]! - sent[1]!).toBeGreaterThanOrEqual(4 * FIRST_WAKE - 1)
})

test('an update that is answered at once sends no signal', async () => {
  const { handle, signals } = asleep()
  handle.executeUpdate = () => Promise.resolve('at once')
  expect(await update(handle)).toBe('at once')
  await sleep(3 * FIRST_WAKE)
  expect(signals).toEqual([])
})

test('an overdue call is logged once, and listed until it is answered', async () => {
  const OVERDUE = 100
  const warnings: string[] = []
  const retries = new PendingRetries(({ reason }) => warnings.push(reason), OVERDUE)
  const error = wrapped(grpcError('RESOURCE_EXHAUSTED', 'namespace rate limit exceeded'))
  const started = Date.now()
  let answers = false
  const answer = untilAnswered(
    () => (answers ? Promise.resolve('answer') : Promise.reject(error)),
    never,
    retries,
  )
  await until(() => retries.overdue !== undefined)
  expect(Date.now() - started).toBeGreaterThanOrEqual(OVERDUE)
  expect(retries.overdue).toEqual({
    on: 'Temporal',
    since: expect.any(Number),
    reason: 'namespace rate limit exceeded',
  })
  await until(() => warnings.length > 0)
  // At least one more call fails.
  await sleep(2 * OVERDUE + 200)
  answers = true
  expect(await answer).toBe('answer')
  expect(retries.overdue).toBeUndefined()
  expect(warnings).toEqual(['namespace rate limit exceeded'])

  const brief = answersAfter(error)
  await untilAnswered(brief.call, never, retries)
  expect(retries.overdue).toBeUndefined()
})
