import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import { topicOffsets, withAdmin } from '../kafka/client'
import { logger } from '../log'
import { blockedWorkflows } from '../pipeline/blocked-workflows'
import { PipelineClient } from '../pipeline/pipeline-client'
import { countStuck, countWaiting } from '../pipeline/visibility'
import type { LedgerMetrics } from '../telemetry/ledger-metrics'

/** Below Prometheus's default scrape interval of 15 s, ms. */
const INTERVAL = 10_000

/** Updates the {@link LedgerMetrics} until `signal` aborts. */
export async function watchLedger(
  client: Client,
  config: Config,
  metrics: LedgerMetrics,
  signal: AbortSignal,
): Promise<void> {
  const pipeline = new PipelineClient(client, config)
  const { group, topic } = config.settings
  while (!signal.aborted) {
    const [status, ends, stuck, waiting, blocked] = await Promise.all([
      orUndefined('the ledger', () => pipeline.status()),
      orUndefined('Kafka', () => withAdmin(config.kafka, admin => topicOffsets(admin, topic))),
      orUndefined('the list of workflows', () => countStuck(client, group)),
      orUndefined('the list of workflows', () => countWaiting(client, group)),
      orUndefined('the list of workflows', () => blockedWorkflows(client, group)),
    ])
    metrics.report(status, ends ?? [], { stuck, waiting, blocked: blocked?.length })
    await sleep(INTERVAL, undefined, { signal }).catch(() => undefined)
  }
}

async function orUndefined<T>(source: string, ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch (error) {
    logger.debug({ err: error }, `no metrics from ${source}`)
    return undefined
  }
}
