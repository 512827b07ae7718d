import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { defaultPayloadConverter } from '@temporalio/common'
import { ingestId } from '../../src/contract/ids'
import type { FlushAnswer, FlushRequest } from '../../src/core/window/protocol'

/** Milliseconds within which every partition must be counted again. */
const RECOVERED_WITHIN = 120_000
const POLL_INTERVAL = 300
/** Events per read of the ledger's history: enough for several seconds. */
const PAGE_SIZE = 150
const ANSWER_WITHIN = 3_000

/** A range that the ledger recorded as done. */
interface DoneRange {
  partition: number
  /** Event time of its newest event, epoch ms. */
  basis: number
  /** When Temporal recorded it, epoch ms. */
  at: number
}

/**
 * Detects when the pipeline counts again, from the flushes in the ledger's history. A query instead would wake the
 * workers and so help them to recover.
 */
export class RecoveryWatch {
  constructor(
    private readonly client: Client,
    private readonly group: string,
    private readonly partitions: number,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * Waits until every partition has counted an event that happened after `since` (epoch ms).
   *
   * @returns how long that took, in milliseconds; null if it took too long
   */
  async recoveredAfter(since: number): Promise<number | null> {
    const first = new Map<number, number>()
    while (Date.now() - since < RECOVERED_WITHIN) {
      for (const { partition, basis, at } of await this.latest())
        if (basis >= since) first.set(partition, Math.min(at, first.get(partition) ?? Infinity))
      if (first.size === this.partitions) return Math.max(...first.values()) - since
      await sleep(POLL_INTERVAL, undefined, { signal: this.signal })
    }
    return null
  }

  /** Empty while Temporal is down. */
  private async latest(): Promise<DoneRange[]> {
    const { workflowService, options } = this.client
    const request = {
      namespace: options.namespace,
      execution: { workflowId: ingestId(this.group) },
      maximumPageSize: PAGE_SIZE,
    }
    try {
      const { history } = await this.client.withDeadline(Date.now() + ANSWER_WITHIN, () =>
        workflowService.getWorkflowExecutionHistoryReverse(request),
      )
      return doneRanges(history?.events ?? [])
    } catch {
      return []
    }
  }
}

type History = Awaited<ReturnType<Client['workflowService']['getWorkflowExecutionHistoryReverse']>>['history']
type HistoryEvent = NonNullable<NonNullable<NonNullable<History>['events']>[number]>

function doneRanges(events: HistoryEvent[]): DoneRange[] {
  const byId = new Map(events.map(event => [String(event.eventId), event]))
  return events.flatMap(event => {
    const completed = event.workflowExecutionUpdateCompletedEventAttributes
    const acceptedEvent = byId.get(String(completed?.acceptedEventId))
    const input = acceptedEvent?.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input
    const answer = completed?.outcome?.success?.payloads?.[0]
    if (input?.name !== 'flush' || !answer) return []
    const { refused } = defaultPayloadConverter.fromPayload<FlushAnswer>(answer)
    const { partitions } = defaultPayloadConverter.fromPayload<FlushRequest>(input.args!.payloads![0]!)
    const at = Number(event.eventTime!.seconds) * 1_000 + event.eventTime!.nanos! / 1e6
    return partitions
      .filter(({ partition, done }) => done && !refused.includes(partition))
      .map(({ partition, done }) => ({ partition, basis: done!.basis ?? -Infinity, at }))
  })
}
