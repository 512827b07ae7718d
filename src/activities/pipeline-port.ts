import type { Client, WorkflowHandle } from '@temporalio/client'
import type { ClaimAnswer, ClaimRequest, Delta, FlushAnswer, FlushRequest } from '../core/window/protocol'
import { ingestId, windowId } from '../contract/ids'
import type { Outgoing, SizedDelta } from '../core/window/poller-state'
import { deltaBytes, exceptionBytes } from '../core/window/window-state'
import { formatWindow } from '../core/window/tumbling-window'
import * as messages from '../contract/messages'
import { windowAttributes, windowMemo } from '../contract/search-attributes'
import { untilAnswered, updateUntilAnswered, type PendingRetries } from '../temporal/retry'
import type { Staging } from './staging'
import type { PollInput } from '../contract/activities'
import { WindowGate } from './window-gate'
import type { WindowWorkflow } from '../contract/workflows'

/** How a poller reaches the ledger and the windows. Everything here is repeated until it is answered. */
export interface PipelinePort {
  claim(request: ClaimRequest): Promise<ClaimAnswer>
  flush(request: FlushRequest): Promise<FlushAnswer>
  /** Which of the partitions should claim to be idle; a query, which leaves no history. */
  awaited(partitions: number[], now: number): Promise<number[]>
  /** Resolves when every window has accepted its deltas. */
  send(outgoing: Outgoing): Promise<void>
}

/** Bytes, as JSON, of a signal to a window at most: deltas that fit go together. */
const MAX_MESSAGE_BYTES = 128_000
/** A delta that takes more goes to Postgres: its exceptions if they take so much of it, then its counts. Bytes as JSON. */
const INLINE = { delta: 64_000, exceptions: 32_000 }
const CALLS_AT_ONCE = 16

export class TemporalPort implements PipelinePort {
  private readonly ingest: WorkflowHandle
  private readonly gate: WindowGate

  constructor(
    private readonly client: Client,
    private readonly staging: Staging,
    private readonly input: PollInput,
    private readonly signal: AbortSignal,
    private readonly waits?: PendingRetries,
  ) {
    this.ingest = client.workflow.getHandle(ingestId(input.settings.group))
    this.gate = new WindowGate(client)
  }

  claim(request: ClaimRequest): Promise<ClaimAnswer> {
    return updateUntilAnswered(this.ingest, messages.claim, request, this.signal, this.waits)
  }

  async flush(request: FlushRequest): Promise<FlushAnswer> {
    const answer = await updateUntilAnswered(this.ingest, messages.flush, request, this.signal, this.waits)
    this.gate.pollers = answer.pollers
    return answer
  }

  awaited(partitions: number[], now: number): Promise<number[]> {
    return untilAnswered(() => this.ingest.query(messages.awaited, partitions, now), this.signal, this.waits)
  }

  async send(outgoing: Outgoing): Promise<void> {
    await eachAtMost(CALLS_AT_ONCE, [...outgoing], ([start, deltas]) => this.sendTo(start, deltas))
  }

  private async sendTo(start: number, sized: SizedDelta[]): Promise<void> {
    const { signal, waits } = this
    const workflowId = windowId(this.input.settings.group, start)
    const fitting: Delta[] = []
    for (const { delta, bytes } of sized)
      fitting.push(bytes <= INLINE.delta ? delta : await this.staged(start, delta))
    for (const deltas of batches(fitting, deltaBytes)) {
      const bytes = deltas.reduce((sum, delta) => sum + deltaBytes(delta), 0)
      await untilAnswered(() => this.gate.pass(workflowId, bytes), signal, waits, 'a window')
      await untilAnswered(() => this.signalWindow(start, deltas), signal, waits)
    }
  }

  /** The delta as it fits a message. */
  private async staged(start: number, delta: Delta): Promise<Delta> {
    const { signal, waits, staging } = this
    let fitting = delta
    if (delta.exceptions && exceptionBytes(delta.exceptions) > INLINE.exceptions)
      fitting = await untilAnswered(() => staging.record(start, delta), signal, waits, 'Postgres')
    if (deltaBytes(fitting) <= INLINE.delta) return fitting
    const large = fitting
    return untilAnswered(() => staging.stage(start, large), signal, waits, 'Postgres')
  }

  private async signalWindow(start: number, deltas: Delta[]): Promise<void> {
    const { settings, taskQueue } = this.input
    await this.client.workflow.signalWithStart<WindowWorkflow, [Delta[]]>('window', {
      workflowId: windowId(settings.group, start),
      taskQueue,
      args: [{ settings, start }],
      signal: messages.addDeltas,
      signalArgs: [deltas],
      staticSummary: formatWindow(start, settings.windowSize),
      typedSearchAttributes: windowAttributes(settings, start),
      memo: windowMemo(settings),
    })
  }
}

/** What fits one message goes together; nothing is split. */
function batches<T>(items: T[], bytesOf: (item: T) => number): T[][] {
  const result: T[][] = []
  let room = 0
  for (const item of items) {
    const bytes = bytesOf(item)
    if (bytes > room) {
      result.push([])
      room = MAX_MESSAGE_BYTES
    }
    result[result.length - 1]!.push(item)
    room -= bytes
  }
  return result
}

async function eachAtMost<T>(limit: number, items: T[], run: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  const worker = async () => {
    for (const item of queue) await run(item)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
}
