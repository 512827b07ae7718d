import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { defaultPayloadConverter } from '@temporalio/common'
import type { FlushAnswer, FlushRequest } from '../../src/core/window/protocol'
import { ingestId } from '../../src/contract/ids'

/** Milliseconds within which every partition must be counted again. */
const RECOVERED_WITHIN = 120_000
const POLL_EVERY = 300
/** Events of the ledger's history that are looked at: those of some seconds. */
const PAGE = 150
const ANSWER_WITHIN = 3_000

/** A range that the ledger took in as done. */
interface Counted {
  partition: number
  /** The newest event in it, epoch ms. */
  basis: number
  /** When Temporal recorded it, epoch ms. */
  at: number
}

/**
 * Tells when the pipeline counts again, by the history of the ledger: what it answered to flushes. A query would ask
 * the workers, and so help them to recover.
 */
export class CountedWatch {
  constructor(
    private readonly client: Client,
    private readonly group: string,
    private readonly partitions: number,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * Waits until an event that happened after `since` (epoch ms) was counted in every partition; milliseconds from
   * then. Null where that took too long.
   */
  async since(since: number): Promise<number | null> {
    const first = new Map<number, number>()
    while (Date.now() - since < RECOVERED_WITHIN) {
      for (const { partition, basis, at } of await this.latest())
        if (basis >= since) first.set(partition, Math.min(at, first.get(partition) ?? Infinity))
      if (first.size === this.partitions) return Math.max(...first.values()) - since
      await sleep(POLL_EVERY, undefined, { signal: this.signal })
    }
    return null
  }

  /** Empty while Temporal is away. */
  private async latest(): Promise<Counted[]> {
    const { workflowService, options } = this.client
    const request = {
      namespace: options.namespace,
      execution: { workflowId: ingestId(this.group) },
      maximumPageSize: PAGE,
    }
    try {
      const { history } = await this.client.withDeadline(Date.now() + ANSWER_WITHIN, () =>
        workflowService.getWorkflowExecutionHistoryReverse(request),
      )
      return countedIn(history?.events ?? [])
    } catch {
      return []
    }
  }
}

type History = Awaited<ReturnType<Client['workflowService']['getWorkflowExecutionHistoryReverse']>>['history']
type HistoryEvent = NonNullable<NonNullable<NonNullable<History>['events']>[number]>

function countedIn(events: HistoryEvent[]): Counted[] {
  const byId = new Map(events.map(event => [String(event.eventId), event]))
  return events.flatMap(event => {
    const completed = event.workflowExecutionUpdateCompletedEventAttributes
    const accepted = byId.get(
      String(completed?.acceptedEventId),
    )?.workflowExecutionUpdateAcceptedEventAttributes
    const input = accepted?.acceptedRequest?.input
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
