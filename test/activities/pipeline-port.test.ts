import { expect, test } from '@jest/globals'
import type { Client } from '@temporalio/client'
import { ApplicationFailure } from '@temporalio/common'
import fc from 'fast-check'
import { TemporalPort } from '../../src/activities/pipeline-port'
import type { Staging } from '../../src/activities/staging'
import { hitsOf } from '../../src/core/counts/columnar'
import type { Delta, DeltaExceptions } from '../../src/core/window/protocol'
import { windowId } from '../../src/contract/ids'
import type { SizedDelta } from '../../src/core/window/poller-state'
import { deltaBytes } from '../../src/core/window/window-state'
import { T0 } from '../core/support'
import { columns, type Group } from '../postgres/support'
import { newSettings } from '../support/settings'
import { grpcError } from './support'

const settings = newSettings({ group: 'shop' })

interface Sent {
  workflowId: string
  deltas: Delta[]
  bytes: number
}

/** A port with a Temporal that accepts every signal, and a Postgres that keeps what it receives. */
function port(given: AbortSignal = new AbortController().signal) {
  const sent: Sent[] = []
  const staged: Delta[] = []
  const recorded: DeltaExceptions[] = []
  const failures: Error[] = []
  const staging: Staging = {
    stage: (_, delta) => {
      const failure = failures.shift()
      if (failure) return Promise.reject(failure)
      staged.push(delta)
      return Promise.resolve({ ...delta, hosts: [], referrers: [], countries: [], rows: '', staged: true })
    },
    record: (_, delta) => {
      const failure = failures.shift()
      if (failure) return Promise.reject(failure)
      recorded.push(delta.exceptions!)
      const { records } = delta.exceptions!
      const exceptions = { records, recorded: true as const, late: [], rejected: {}, samples: [] }
      return Promise.resolve({ ...delta, exceptions })
    },
  }
  const signalWithStart = (type: string, options: { workflowId: string; signalArgs: [Delta[]] }) => {
    expect(type).toBe('window')
    const { workflowId, signalArgs } = options
    const [deltas] = signalArgs
    sent.push({ workflowId, deltas, bytes: Buffer.byteLength(JSON.stringify(deltas)) })
    return Promise.resolve()
  }
  const describe = () => Promise.resolve({ status: { name: 'RUNNING' }, historySize: 0, historyLength: 1 })
  const client = { workflow: { getHandle: () => ({ describe }), signalWithStart } } as unknown as Client
  const input = { settings, poller: 1, taskQueue: 'queue' }
  return { sent, staged, recorded, failures, port: new TemporalPort(client, staging, input, given) }
}

/** A delta with counts and exceptions of about these sizes. */
function delta(number: number, bytes: number, exceptionBytes = 0): Delta {
  const groups = Array.from({ length: Math.ceil(bytes / 520) }, (_, i): Group => [
    'a.example',
    `${i}/`.padEnd(500, 'r'),
    'DE',
    1,
  ])
  const samples = Array.from({ length: Math.ceil(exceptionBytes / 64) }, (_, i): [number, string] => [
    i,
    'invalid_event_time',
  ])
  const [first, last] = [number * 1_000, number * 1_000 + 999]
  const exceptions: DeltaExceptions = {
    records: samples.length,
    late: [],
    rejected: { invalid_event_time: samples.length },
    samples,
  }
  return {
    ...{ partition: 0, from: first, basis: T0, first, last, hits: groups.length, ...columns(...groups) },
    ...(samples.length > 0 && { exceptions }),
  }
}

const sized = (delta: Delta): SizedDelta => ({ delta, bytes: deltaBytes(delta) })
const send = (to: ReturnType<typeof port>, ...deltas: Delta[]) =>
  to.port.send(new Map([[T0, deltas.map(sized)]]))

test('small deltas are sent unchanged in one message', async () => {
  const to = port()
  const deltas = [delta(0, 10_000, 5_000), delta(1, 20_000), delta(2, 0, 100)]
  await send(to, ...deltas)
  expect(to.sent).toEqual([{ workflowId: windowId('shop', T0), deltas, bytes: expect.any(Number) }])
  expect([to.staged, to.recorded]).toEqual([[], []])
})

test('counts above 64,000 bytes are staged, and the message carries their hits', async () => {
  const to = port()
  const large = delta(0, 70_000, 1_000)
  await send(to, large, delta(1, 50_000))
  expect(to.staged).toEqual([large])
  expect(to.recorded).toEqual([])
  const [{ deltas }] = to.sent as [Sent]
  const { hits, exceptions } = large
  expect(deltas).toMatchObject([
    { hits, exceptions, staged: true, rows: '' },
    { hits: delta(1, 50_000).hits },
  ])
})

test('exceptions above 32,000 bytes of a large delta are recorded, and the message carries their number', async () => {
  const to = port()
  const many = delta(0, 1_000, 100_000)
  await send(to, many)
  expect(to.recorded).toEqual([many.exceptions])
  expect(to.staged).toEqual([])
  const { records } = many.exceptions!
  expect(to.sent[0]!.deltas).toEqual([
    { ...many, exceptions: { records, recorded: true, late: [], rejected: {}, samples: [] } },
  ])
})

test('if both are too large, both go to Postgres', async () => {
  const to = port()
  const both = delta(0, 100_000, 100_000)
  await send(to, both)
  expect(to.recorded).toEqual([both.exceptions])
  expect(to.staged).toMatchObject([{ hits: both.hits, exceptions: { recorded: true } }])
  expect(to.sent[0]!.deltas).toMatchObject([{ staged: true, exceptions: { recorded: true } }])
  expect(to.sent[0]!.bytes).toBeLessThan(1_000)
})

test('no message exceeds 128,000 bytes, and nothing is lost or reordered', async () => {
  const part = fc.record({
    bytes: fc.oneof(fc.nat(2_000), fc.nat(64_000), fc.nat(200_000)),
    exceptionBytes: fc.oneof(fc.constant(0), fc.nat(32_000), fc.nat(100_000)),
  })
  const property = fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 12 }), async parts => {
    const to = port()
    const deltas = parts.map(({ bytes, exceptionBytes }, number) => delta(number, bytes, exceptionBytes))
    await send(to, ...deltas)
    for (const { bytes } of to.sent) expect(bytes).toBeLessThanOrEqual(128_000)
    const arrived = to.sent.flatMap(({ deltas }) => deltas)
    for (const one of arrived) expect(Buffer.byteLength(JSON.stringify(one))).toBeLessThanOrEqual(64_000)
    expect(arrived.map(({ first, last, hits }) => ({ first, last, hits }))).toEqual(
      deltas.map(({ first, last, hits }) => ({ first, last, hits })),
    )
    const inMessages = arrived.reduce((sum, one) => sum + hitsOf(one), 0)
    const inPostgres = to.staged.reduce((sum, one) => sum + hitsOf(one), 0)
    expect(inMessages + inPostgres).toBe(deltas.reduce((sum, { hits }) => sum + hits, 0))
    const records = (all: (DeltaExceptions | undefined)[]) =>
      all.reduce((sum, one) => sum + (one?.samples.length ?? 0), 0)
    expect(records(arrived.map(({ exceptions }) => exceptions)) + records(to.recorded)).toBe(
      records(deltas.map(({ exceptions }) => exceptions)),
    )
  })
  await fc.assert(property, { numRuns: 50 })
})

test('staging is retried while Postgres is down, and a permanent refusal ends it', async () => {
  const to = port()
  to.failures.push(new Error('Postgres is unreachable.'), new Error('Postgres is unreachable.'))
  await send(to, delta(0, 100_000))
  expect(to.staged).toHaveLength(1)
  expect(to.sent).toHaveLength(1)

  const refused = ApplicationFailure.nonRetryable('may not insert')
  to.failures.push(refused)
  await expect(send(to, delta(1, 100_000))).rejects.toBe(refused)
  expect(to.sent).toHaveLength(1)
})

test('deltas wait for a full window until it has room or the poller ends', async () => {
  const given = new AbortController()
  const to = port(given.signal)
  const full = { status: { name: 'RUNNING' }, historySize: 9 << 20, historyLength: 10 }
  let looks = 0
  let isFull = true
  const client = (to.port as unknown as { client: { workflow: { getHandle: () => object } } }).client
  client.workflow.getHandle = () => ({
    describe: () => {
      looks++
      return Promise.resolve(isFull ? full : { ...full, historySize: 1 })
    },
  })
  const deltas = Array.from({ length: 5 }, (_, number) => delta(number, 60_000))
  const sending = send(to, ...deltas)
  while (looks < 3) await new Promise(resolve => setTimeout(resolve, 10))
  expect(to.sent.length).toBeLessThan(deltas.length)
  isFull = false
  await sending
  expect(to.sent.flatMap(({ deltas }) => deltas)).toHaveLength(deltas.length)

  isFull = true
  const never = send(to, ...Array.from({ length: 5 }, (_, number) => delta(10 + number, 60_000)))
  setTimeout(() => given.abort(), 300)
  await expect(never).rejects.toMatchObject({ name: 'AbortError' })
})

test('a signal that fails is sent again', async () => {
  const to = port()
  const client = (to.port as unknown as { client: { workflow: Record<string, unknown> } }).client
  const take = client.workflow.signalWithStart as (...args: unknown[]) => Promise<void>
  let failures = 2
  client.workflow.signalWithStart = (...args: unknown[]) =>
    failures-- > 0 ? Promise.reject(grpcError('UNAVAILABLE')) : take(...args)
  await send(to, delta(0, 1_000))
  expect(to.sent).toHaveLength(1)
})
