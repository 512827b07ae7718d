import { expect, test } from '@jest/globals'
import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import { WindowGate, WindowFullError } from '../../src/activities/window-gate'
import { grpcError } from './support'

const KIB = 1 << 10
const MIB = 1 << 20
const ID = 'shop/window/2026-01-01T12:00:00Z'

/** A server on which every window's run has this history. `asked` lists the checked windows. */
class FakeServer {
  readonly asked: string[] = []
  history: { status?: string; historySize?: number; historyLength: number } | Error = { historyLength: 10 }

  get client(): Client {
    const describe = (id: string) => {
      this.asked.push(id)
      if (this.history instanceof Error) return Promise.reject(this.history)
      const { status = 'RUNNING', ...history } = this.history
      return Promise.resolve({ status: { name: status }, ...history })
    }
    return {
      workflow: { getHandle: (id: string) => ({ describe: () => describe(id) }) },
    } as unknown as Client
  }
}

async function passes(gate: WindowGate, bytes: number, messages: number, id = ID): Promise<void> {
  for (let i = 0; i < messages; i++) await gate.pass(id, bytes)
}

test('a window is checked after every 256 KiB from one poller, and not sooner', async () => {
  const server = new FakeServer()
  const gate = new WindowGate(server.client)
  await passes(gate, 64 * KIB, 4)
  expect(server.asked).toEqual([])
  await gate.pass(ID, 64 * KIB)
  expect(server.asked).toEqual([ID])
  await passes(gate, 64 * KIB, 3)
  expect(server.asked).toHaveLength(1)
  await gate.pass(ID, 1)
  expect(server.asked).toHaveLength(2)
})

test('a window is checked after every 100 messages, however small', async () => {
  const server = new FakeServer()
  const gate = new WindowGate(server.client)
  await passes(gate, 10, 100)
  expect(server.asked).toEqual([])
  await passes(gate, 10, 100)
  expect(server.asked).toHaveLength(1)
  await gate.pass(ID, 10)
  expect(server.asked).toHaveLength(2)
})

test('many pollers together send at most 16 MiB and 4,000 messages between two checks', async () => {
  for (const pollers of [1, 64, 128, 1_000, 4_000]) {
    const server = new FakeServer()
    const gate = new WindowGate(server.client)
    gate.pollers = pollers
    const unseen = async (bytes: number) => {
      const before = server.asked.length
      for (let sent = 0; ; sent++) {
        await gate.pass(ID, bytes)
        if (server.asked.length > before) return sent
      }
    }
    await gate.pass(ID, KIB)
    await unseen(KIB)
    const messages = await unseen(KIB)
    expect(messages * pollers * KIB).toBeLessThanOrEqual(16 * MIB)
    expect(Math.max(messages, 1) * pollers).toBeLessThanOrEqual(4_000)
  }
})

test('each window has its own count', async () => {
  const server = new FakeServer()
  const gate = new WindowGate(server.client)
  for (let i = 0; i < 50; i++) await passes(gate, 64 * KIB, 4, `${ID}/${i}`)
  expect(server.asked).toEqual([])
  await gate.pass(`${ID}/7`, 64 * KIB)
  expect(server.asked).toEqual([`${ID}/7`])
})

test.each([
  ['8 MiB', { historySize: 8 * MIB, historyLength: 10 }],
  ['16,000 events', { historySize: MIB, historyLength: 16_000 }],
])('a window whose history has %s is checked at every attempt until it has less', async (_, history) => {
  const server = new FakeServer()
  const gate = new WindowGate(server.client)
  await passes(gate, 128 * KIB, 2)
  server.history = history
  for (let i = 1; i <= 3; i++) {
    await expect(gate.pass(ID, 128 * KIB)).rejects.toThrow(WindowFullError)
    expect(server.asked).toHaveLength(i)
  }
  server.history = { historySize: 8 * MIB - 1, historyLength: 15_999 }
  await gate.pass(ID, 128 * KIB)
  expect(server.asked).toHaveLength(4)
  await gate.pass(ID, 128 * KIB)
  expect(server.asked).toHaveLength(4)
})

test('the error names the window and its size', async () => {
  const server = new FakeServer()
  const gate = new WindowGate(server.client)
  await passes(gate, 256 * KIB, 1)
  server.history = { historySize: 12.34 * MIB, historyLength: 10 }
  await expect(gate.pass(ID, 1)).rejects.toThrow(`${ID} has 12.3 MiB of counts to process`)
})

test.each([
  ['has ended', { status: 'COMPLETED', historySize: 40 * MIB, historyLength: 40_000 }],
  ['does not exist', new WorkflowNotFoundError('not found', ID, undefined)],
])('a window that %s accepts messages, which start it again', async (_, history) => {
  const server = new FakeServer()
  server.history = history
  const gate = new WindowGate(server.client)
  await passes(gate, 256 * KIB, 3)
  expect(server.asked).toHaveLength(2)
})

test('nothing is sent if the check fails', async () => {
  const server = new FakeServer()
  const gate = new WindowGate(server.client)
  await passes(gate, 256 * KIB, 1)
  server.history = grpcError('UNAVAILABLE')
  await expect(gate.pass(ID, 1)).rejects.toThrow('UNAVAILABLE')
})

test('the first message is sent without a check, however large', async () => {
  const server = new FakeServer()
  await new WindowGate(server.client).pass(ID, MIB)
  expect(server.asked).toEqual([])
})
