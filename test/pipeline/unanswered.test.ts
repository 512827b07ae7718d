import { afterEach, expect, test } from '@jest/globals'
import { ServiceError, type Client } from '@temporalio/client'
import { defaultPayloadConverter, noopMetricMeter } from '@temporalio/common'
import { MockActivityEnvironment } from '@temporalio/testing'
import { pollKafka } from '../../src/activities/poll-kafka'
import { findProblems } from '../../src/pipeline/health'
import { pollerId } from '../../src/contract/ids'
import { PollerMetrics } from '../../src/telemetry/poller-metrics'
import { grpcError } from '../activities/support'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'

const REFUSAL = 'namespace rate limit exceeded'

let pipeline: TestPipeline
afterEach(() => pipeline.destroy())

test('a lasting refusal of Temporal is a problem while it lasts, and none afterwards', async () => {
  pipeline = new TestPipeline()
  await pipeline.createTopic(1)
  const { settings, taskQueue } = pipeline.config
  const { group: groupId } = settings
  // A broker has no coordinator of groups before somebody has asked for one, and the first answers are errors.
  await until(() =>
    pipeline
      .withAdmin(admin => admin.fetchOffsets({ groupId }))
      .then(
        () => true,
        () => false,
      ),
  )
  let refuses = true
  const answer = () =>
    refuses
      ? Promise.reject(
          new ServiceError('Workflow Update failed', { cause: grpcError('RESOURCE_EXHAUSTED', REFUSAL) }),
        )
      : Promise.resolve({ partitions: [], refused: [], pollers: 1 })
  const describe = () => Promise.resolve({ raw: {} })
  const handle = { executeUpdate: answer, query: answer, signal: () => Promise.resolve(), describe }
  const client = {
    workflow: { getHandle: () => handle },
    withAbortSignal: (_: AbortSignal, run: () => unknown) => run(),
  } as unknown as Client
  const environment = new MockActivityEnvironment({}, { client })
  let beat: unknown
  environment.on('heartbeat', (details: unknown) => (beat = details))

  /** What `status` makes of the newest heartbeat, as the server gives it. */
  const problems = () => {
    const heartbeatDetails = { payloads: [defaultPayloadConverter.toPayload(beat)] }
    const activity = { lastStartedTime: { seconds: 0 }, heartbeatDetails }
    const raw = { pendingActivities: [activity] }
    const described = {
      workflow: {
        getHandle: (id: string) => {
          expect(id).toBe(pollerId(settings.group, 1))
          return { describe: () => Promise.resolve({ raw, status: { name: 'RUNNING' } }) }
        },
        count: () => Promise.resolve({ count: 0 }),
        list: () => [],
      },
    } as unknown as Client
    return findProblems(described, {
      group: settings.group,
      state: 'running',
      pollers: { wanted: 1, running: [1] },
      lag: 0,
    })
  }

  const begun = Date.now()
  const polling = environment.run(
    pollKafka,
    { settings, poller: 1, taskQueue },
    {
      config: pipeline.config,
      // Nothing is read, so that nothing is staged.
      db: undefined as never,
      namespace: 'default',
      metrics: new PollerMetrics(noopMetricMeter),
      lookup: { locate: () => '??' },
    },
  )
  try {
    await until(() => beat !== undefined)
    expect(await problems()).toEqual([])
    await until(async () => (await problems()).length > 0, 40_000)
    expect(Date.now() - begun).toBeGreaterThanOrEqual(10_000)
    expect(await problems()).toEqual([
      expect.stringMatching(
        new RegExp(`^Poller 1 has been waiting for Temporal since \\S+Z: ${REFUSAL}\\.$`),
      ),
    ])

    refuses = false
    await until(async () => (await problems()).length === 0, 20_000)
  } finally {
    environment.cancel()
    refuses = false
    await polling
  }
}, 120_000)
