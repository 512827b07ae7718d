import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { PipelineClient } from '../pipeline/pipeline-client'
import { countWaiting } from '../pipeline/visibility'
import type { Config } from '../config'
import { topicOffsets, withAdmin } from '../kafka/client'
import { logger } from '../log'
import type { LedgerMetrics } from '../telemetry/ledger-metrics'

/** Prometheus scrapes every 15 s unless it is told otherwise. ms */
const ASK_EVERY = 10_000

/** Asks the ledger, Kafka and the list of workflows for what {@link LedgerMetrics} say, until `signal` aborts. */
export async function watchLedger(
  client: Client,
  config: Config,
  metrics: LedgerMetrics,
  signal: AbortSignal,
): Promise<void> {
  const pipeline = new PipelineClient(client, config)
  const { group, topic } = config.settings
  while (!signal.aborted) {
    // None of them waits for another, and each may be away by itself.
    const [status, ends, waiting] = await Promise.all([
      orUndefined('the ledger', () => pipeline.status()),
      orUndefined('Kafka', () => withAdmin(config.kafka, admin => topicOffsets(admin, topic))),
      orUndefined('the list of workflows', () => countWaiting(client, group)),
    ])
    metrics.tell(status, ends ?? [], waiting)
    await sleep(ASK_EVERY, undefined, { signal }).catch(() => undefined)
  }
}

async function orUndefined<T>(whom: string, ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch (error) {
    logger.debug({ err: error }, `${whom} gave the metrics no answer`)
    return undefined
  }
}
