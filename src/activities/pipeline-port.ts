import { randomUUID } from 'node:crypto'
import type { Client, WorkflowHandle } from '@temporalio/client'
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import { encodedBytes } from '../core/columnar'
import type {
  ClaimAnswer,
  ClaimRequest,
  Delta,
  FlushAnswer,
  FlushRequest,
  RangeExceptions,
} from '../core/messages'
import { exceptionsId, ingestId, windowId } from '../core/names'
import type { Outgoing } from '../core/poller-state'
import { formatWindow } from '../core/tumbling-window'
import { describeExceptions, type exceptions } from '../workflows/exceptions'
import * as messages from '../workflows/messages'
import { pipelineAttributes, windowAttributes, windowMemo } from '../workflows/search-attributes'
import type { window } from '../workflows/window'
import { untilAnswered, updateUntilAnswered, type Waits } from './patience'
import type { PollInput } from './types'

/** How a poller reaches the ledger and the windows. Everything here is repeated until it is answered. */
export interface PipelinePort {
  claim(request: ClaimRequest): Promise<ClaimAnswer>
  flush(request: FlushRequest): Promise<FlushAnswer>
  /** Which of the partitions should claim to be idle; a query, which leaves no history. */
  awaited(partitions: number[], now: number): Promise<number[]>
  /** Resolves when every window has accepted its deltas, and the exceptions are on their way. */
  send(outgoing: Outgoing): Promise<void>
}

/** Bytes of one message at most, unless a single range needs more; the server refuses payloads of 2 MB. */
const MAX_MESSAGE_BYTES = 1_000_000
const CALLS_AT_ONCE = 16

export class TemporalPort implements PipelinePort {
  private readonly ingest: WorkflowHandle

  constructor(
    private readonly client: Client,
    private readonly input: PollInput,
    private readonly signal: AbortSignal,
    private readonly waits?: Waits,
  ) {
    this.ingest = client.workflow.getHandle(ingestId(input.settings.group))
  }

  claim(request: ClaimRequest): Promise<ClaimAnswer> {
    return updateUntilAnswered(this.ingest, messages.claim, request, this.signal, this.waits)
  }

  flush(request: FlushRequest): Promise<FlushAnswer> {
    return updateUntilAnswered(this.ingest, messages.flush, request, this.signal, this.waits)
  }

  awaited(partitions: number[], now: number): Promise<number[]> {
    return untilAnswered(() => this.ingest.query(messages.awaited, partitions, now), this.signal, this.waits)
  }

  async send({ deltas, exceptions }: Outgoing): Promise<void> {
    const calls: (() => Promise<void>)[] = []
    for (const ranges of batches(exceptions, exceptionBytes)) {
      // One id for all tries; another poller that holds the same ranges has another, and Postgres knows the ranges.
      const id = randomUUID()
      calls.push(() => this.startExceptions(id, ranges))
    }
    for (const [start, sized] of deltas)
      for (const batch of batches(sized, ({ bytes }) => bytes))
        calls.push(() =>
          this.signalWindow(
            start,
            batch.map(({ delta }) => delta),
          ),
        )
    await eachAtMost(CALLS_AT_ONCE, calls, call => untilAnswered(call, this.signal, this.waits))
  }

  private async signalWindow(start: number, deltas: Delta[]): Promise<void> {
    const { settings, taskQueue } = this.input
    await this.client.workflow.signalWithStart<typeof window, [Delta[]]>('window', {
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

  private async startExceptions(flushId: string, ranges: Outgoing['exceptions']): Promise<void> {
    const { settings, taskQueue } = this.input
    try {
      await this.client.workflow.start<typeof exceptions>('exceptions', {
        workflowId: exceptionsId(settings.group, flushId),
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        taskQueue,
        args: [{ settings, ranges }],
        staticSummary: describeExceptions(ranges),
        typedSearchAttributes: pipelineAttributes(settings),
      })
    } catch (error) {
      // An earlier try of this same flush was taken in and its answer lost.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    }
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

/** Upper bound of a range's exceptions as JSON: a sample is an offset and a reason. */
function exceptionBytes({ late, samples }: RangeExceptions): number {
  return late.reduce((sum, counts) => sum + 40 + encodedBytes(counts), 1_000 + 48 * samples.length)
}

async function eachAtMost<T>(limit: number, items: T[], run: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  const worker = async () => {
    for (const item of queue) await run(item)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
}
