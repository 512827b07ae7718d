import { describe, expect, test } from '@jest/globals'
import { ServiceError, WorkflowUpdateFailedError, type WorkflowHandle } from '@temporalio/client'
import { ApplicationFailure, WorkflowNotFoundError } from '@temporalio/common'
import { untilAnswered, updateUntilAnswered, PendingRetries } from '../../src/temporal/retry'
import { flush, wake } from '../../src/contract/messages'
import { until } from '../support/until'
import { grpcError } from '../activities/support'

const never = new AbortController().signal

/** Fails with each of these in turn, then answers. */
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
  ['as grpc gives it', asIs],
  ['as the client wraps it', wrapped],
])('%s', (_, given) => {
  test.each([
    [14, 'UNAVAILABLE'],
    [4, 'DEADLINE_EXCEEDED'],
    [8, 'RESOURCE_EXHAUSTED'],
    [1, 'CANCELLED'],
    [13, 'INTERNAL'],
    [2, 'UNKNOWN'],
  ])('a call that fails with %i %s is repeated until it is answered', async (code, name) => {
    const error = given(grpcError(code, name))
    const { call, calls } = answersAfter(error, error)
    expect(await untilAnswered(call, never)).toBe('answer')
    expect(calls()).toBe(3)
  })

  test.each([
    [5, 'NOT_FOUND'],
    [3, 'INVALID_ARGUMENT'],
    [7, 'PERMISSION_DENIED'],
    [16, 'UNAUTHENTICATED'],
  ])('a call that fails with %i %s is not repeated', async (code, name) => {
    const error = given(grpcError(code, name))
    const { call, calls } = answersAfter(error)
    await expect(untilAnswered(call, never)).rejects.toBe(error)
    expect(calls()).toBe(1)
  })
})

test.each([
  ['a workflow that is not there', new WorkflowNotFoundError('not found', 'id', undefined)],
  ['an update that failed', new WorkflowUpdateFailedError('failed', ApplicationFailure.create({}))],
  ['a failure of the application', ApplicationFailure.create({ message: 'wrong' })],
  ['a mistake in the program', new TypeError('undefined is not a function')],
])('%s ends it at once', async (_, error) => {
  const { call, calls } = answersAfter(grpcError(14, 'UNAVAILABLE'), error)
  await expect(untilAnswered(call, never)).rejects.toBe(error)
  expect(calls()).toBe(2)
})

test('an abort ends the waiting between two calls', async () => {
  const given = new AbortController()
  let calls = 0
  const call = () => {
    calls++
    setImmediate(() => given.abort())
    return Promise.reject(grpcError(14, 'UNAVAILABLE'))
  }
  await expect(untilAnswered(call, given.signal)).rejects.toMatchObject({ name: 'AbortError' })
  expect(calls).toBe(1)
})

test('nothing is called once it was aborted', async () => {
  const { call, calls } = answersAfter()
  await expect(untilAnswered(call, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' })
  expect(calls()).toBe(0)
})

/** A workflow that takes an update in only when something has woken it. */
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

test('an update that nobody takes in is helped by a signal, and by none once it is answered', async () => {
  const { handle, signals } = asleep()
  expect(await updateUntilAnswered(handle, flush, {} as never, never)).toBe('answer')
  await new Promise(resolve => setTimeout(resolve, 4_500))
  expect(signals).toEqual([wake])
})

test('an update that is answered at once sends no signal', async () => {
  const { handle, signals } = asleep()
  handle.executeUpdate = () => Promise.resolve('at once')
  expect(await updateUntilAnswered(handle, flush, {} as never, never)).toBe('at once')
  await new Promise(resolve => setTimeout(resolve, 2_500))
  expect(signals).toEqual([])
})

test('a call that is not answered for long is said once, and known until it is', async () => {
  const said: string[] = []
  const waits = new PendingRetries(({ reason }) => said.push(reason), 300)
  const error = wrapped(grpcError(8, 'namespace rate limit exceeded'))
  const begun = Date.now()
  const failing = () =>
    Date.now() - begun < 1_000 ? Promise.reject(error) : Promise.resolve(Date.now() - begun)
  const answer = untilAnswered(failing, never, waits)
  await until(() => waits.long !== undefined)
  expect(Date.now() - begun).toBeGreaterThanOrEqual(300)
  expect(waits.long).toEqual({
    on: 'Temporal',
    since: expect.any(Number),
    reason: 'namespace rate limit exceeded',
  })
  expect(await answer).toBeGreaterThanOrEqual(1_000)
  expect(waits.long).toBeUndefined()
  expect(said).toEqual(['namespace rate limit exceeded'])

  const brief = answersAfter(error)
  await untilAnswered(brief.call, never, waits)
  expect(waits.long).toBeUndefined()
})
