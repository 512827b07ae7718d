import type { Client, WorkflowHandle } from '@temporalio/client'
import type { PollInput } from '../contract/activities'
import { ingestId, windowId } from '../contract/ids'
import * as messages from '../contract/messages'
import { windowAttributes, windowMemo } from '../contract/search-attributes'
import type { WindowWorkflow } from '../contract/workflows'
import type { Outgoing, SizedDelta } from '../core/window/poller-state'
import type {
  ClaimAnswer,
  ClaimRequest,
  Delta,
  FlushAnswer,
  FlushRequest,
  Timed,
} from '../core/window/protocol'
import { formatWindow } from '../core/window/tumbling-window'
import { deltaBytes, exceptionBytes } from '../core/window/window-state'
import { untilAnswered, updateUntilAnswered, type PendingRetries, type RetryTarget } from '../temporal/retry'
import type { Staging } from './staging'
import { WindowGate } from './window-gate'

/** A poller's calls to the ledger and the windows. All are retried until they are answered. */
export interface PipelinePort {
  claim(request: ClaimRequest): Promise<Timed<ClaimAnswer>>
  flush(request: FlushRequest): Promise<Timed<FlushAnswer>>
  /**
   * Which of the partitions should claim to be idle. A query, which leaves no history.
   *
   * @param now the ledger's time, epoch ms
   */
  awaited(partitions: number[], now: number): Promise<number[]>
  /** Resolves when every window has accepted its deltas. */
  send(outgoing: Outgoing): Promise<void>
}

/** Maximum size of a signal to a window, bytes as JSON. Small deltas share a signal. */
const MAX_MESSAGE_BYTES = 128_000
/** Larger deltas, or their exceptions, go to Postgres. Bytes as JSON. */
const MAX_INLINE_BYTES = { delta: 64_000, exceptions: 32_000 }
const MAX_CONCURRENT_WINDOWS = 16

export class TemporalPort implements PipelinePort {
  private readonly ingest: WorkflowHandle
  private readonly gate: WindowGate

  constructor(
    private readonly client: Client,
    private readonly staging: Staging,
    private readonly input: PollInput,
    private readonly signal: AbortSignal,
    private readonly retries?: PendingRetries,
  ) {
    this.ingest = client.workflow.getHandle(ingestId(input.settings.group))
    this.gate = new WindowGate(client)
  }

  claim(request: ClaimRequest): Promise<Timed<ClaimAnswer>> {
    return updateUntilAnswered(this.ingest, messages.claim, request, this.signal, this.retries)
  }

  async flush(request: FlushRequest): Promise<Timed<FlushAnswer>> {
    const answer = await updateUntilAnswered(this.ingest, messages.flush, request, this.signal, this.retries)
    this.gate.pollers = answer.pollers
    return answer
  }

  awaited(partitions: number[], now: number): Promise<number[]> {
    return this.retried('Temporal', () => this.ingest.query(messages.awaited, partitions, now))
  }

  async send(outgoing: Outgoing): Promise<void> {
    const windows = outgoing.entries()
    const lane = async () => {
      for (const [start, deltas] of windows) await this.sendTo(start, deltas)
    }
    await Promise.all(Array.from({ length: MAX_CONCURRENT_WINDOWS }, lane))
  }

  private async sendTo(start: number, sized: SizedDelta[]): Promise<void> {
    const workflowId = windowId(this.input.settings.group, start)
    const fitting: Delta[] = []
    for (const { delta, bytes } of sized)
      fitting.push(bytes <= MAX_INLINE_BYTES.delta ? delta : await this.shrink(start, delta))
    for (const { deltas, bytes } of batches(fitting)) {
      await this.retried('a window', () => this.gate.pass(workflowId, bytes))
      await this.retried('Temporal', () => this.signalWindow(workflowId, start, deltas))
    }
  }

  /** Moves exceptions, then counts, to Postgres until the delta fits a message. */
  private async shrink(start: number, delta: Delta): Promise<Delta> {
    let shrunk = delta
    if (delta.exceptions && exceptionBytes(delta.exceptions) > MAX_INLINE_BYTES.exceptions)
      shrunk = await this.retried('Postgres', () => this.staging.record(start, delta))
    const fits = deltaBytes(shrunk) <= MAX_INLINE_BYTES.delta
    return fits ? shrunk : this.retried('Postgres', () => this.staging.stage(start, shrunk))
  }

  private async signalWindow(workflowId: string, start: number, deltas: Delta[]): Promise<void> {
    const { settings, taskQueue } = this.input
    await this.client.workflow.signalWithStart<WindowWorkflow, [Delta[]]>('window', {
      workflowId,
      taskQueue,
      args: [{ settings, start }],
      signal: messages.addDeltas,
      signalArgs: [deltas],
      staticSummary: formatWindow(start, settings.windowSize),
      typedSearchAttributes: windowAttributes(settings, start),
      memo: windowMemo(settings),
    })
  }

  private retried<T>(target: RetryTarget, call: () => Promise<T>): Promise<T> {
    return untilAnswered(call, this.signal, this.retries, target)
  }
}

/** Groups deltas into messages, in order and without splitting any. */
function batches(deltas: Delta[]): { deltas: Delta[]; bytes: number }[] {
  const result: { deltas: Delta[]; bytes: number }[] = []
  for (const delta of deltas) {
    const bytes = deltaBytes(delta)
    const last = result.at(-1)
    if (last && last.bytes + bytes <= MAX_MESSAGE_BYTES) {
      last.deltas.push(delta)
      last.bytes += bytes
    } else result.push({ deltas: [delta], bytes })
  }
  return result
}
