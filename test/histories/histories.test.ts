import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { defaultPayloadConverter } from '@temporalio/common'
import { temporal } from '@temporalio/proto'
import { Worker, type WorkflowBundle } from '@temporalio/worker'
import { DeterminismViolationError } from '@temporalio/workflow'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { bundleFresh, bundleWorkflows, quietRuntime } from '../workflows/support'
import { TRACE_HEADER } from '../../src/contract/tracing'

const FOLDER = join(__dirname, 'recorded')
const names = readdirSync(FOLDER).map(file => file.replace(/\.pb.gz$/, ''))
const historyOf = (name: string) =>
  temporal.api.history.v1.History.decode(gunzipSync(readFileSync(join(FOLDER, `${name}.pb.gz`))))
const sinks = { tracing: { ended: { fn: () => undefined } } }
const replay = (bundle: WorkflowBundle, name: string, history = historyOf(name)) =>
  Worker.runReplayHistory({ workflowBundle: bundle, sinks }, history)

/** The history as if the senders of its messages had traced from an event on. */
function traced(history: ReturnType<typeof historyOf>, from = 0): ReturnType<typeof historyOf> {
  let messages = 0
  for (const event of history.events.slice(from)) {
    const message =
      event.workflowExecutionStartedEventAttributes ??
      event.workflowExecutionSignaledEventAttributes ??
      event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input
    if (!message) continue
    const traceparent = `00-${'a'.repeat(32)}-${String(++messages).padStart(16, '0')}-01`
    message.header = { fields: { [TRACE_HEADER]: defaultPayloadConverter.toPayload({ traceparent }) } }
  }
  return history
}

let bundle: WorkflowBundle

beforeAll(async () => {
  quietRuntime()
  bundle = await bundleWorkflows()
}, 120_000)

describe('the workflows replay the histories of earlier releases', () => {
  test('every workflow has a recorded history', () => {
    const types = names.map(name => historyOf(name).events?.[0]?.workflowExecutionStartedEventAttributes)
    expect(new Set(types.map(started => started?.workflowType?.name))).toEqual(
      new Set([
        'exceptions',
        'ingest',
        'maintain',
        'piece',
        'poller',
        'recover',
        'repair',
        'replay',
        'verify',
        'window',
      ]),
    )
  })

  test('every history has a completed workflow task', () => {
    const begun = names.filter(name =>
      historyOf(name).events?.some(event => event.workflowTaskCompletedEventAttributes),
    )
    expect(begun).toEqual(names)
  })

  test.each(names)('%s', async name => {
    await replay(bundle, name)
  })

  test.each(names)('%s, as if all senders had traced', async name => {
    const history = traced(historyOf(name))
    expect(JSON.stringify(history)).toContain(TRACE_HEADER)
    await replay(bundle, name, history)
  })

  test.each(names)('%s, as if they had started to trace midway', async name => {
    const history = historyOf(name)
    await replay(bundle, name, traced(history, Math.floor(history.events.length / 2)))
  })
})

describe('a change that would break open windows is caught', () => {
  let changed: WorkflowBundle

  beforeAll(async () => {
    changed = await bundleFresh(require.resolve('./changed-workflows'))
  }, 180_000)

  test.each([
    ['window', 'window-live'],
    ['window', 'window-corrected-next-run'],
    ['ingest', 'ingest'],
    ['poller', 'poller'],
    ['exceptions', 'exceptions'],
    ['piece', 'piece'],
  ])(
    'a timer before the first step of %s, by %s',
    async (_, name) => {
      await expect(replay(changed, name)).rejects.toThrow(DeterminismViolationError)
    },
    60_000,
  )
})
