import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { temporal } from '@temporalio/proto'
import { Worker, type WorkflowBundle } from '@temporalio/worker'
import { DeterminismViolationError } from '@temporalio/workflow'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { bundleWorkflows, quietRuntime } from '../workflows/support'

const FOLDER = join(__dirname, 'recorded')
const names = readdirSync(FOLDER).map(file => file.replace(/\.pb.gz$/, ''))
const historyOf = (name: string) =>
  temporal.api.history.v1.History.decode(gunzipSync(readFileSync(join(FOLDER, `${name}.pb.gz`))))
const replay = (bundle: WorkflowBundle, name: string) =>
  Worker.runReplayHistory({ workflowBundle: bundle }, historyOf(name))

let bundle: WorkflowBundle

beforeAll(async () => {
  quietRuntime()
  bundle = await bundleWorkflows()
}, 120_000)

describe('what runs of a release did is what these workflows would do', () => {
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
        'replay',
        'verify',
        'window',
      ]),
    )
  })

  test('every one of them took a step', () => {
    const begun = names.filter(name =>
      historyOf(name).events?.some(event => event.workflowTaskCompletedEventAttributes),
    )
    expect(begun).toEqual(names)
  })

  test.each(names)('%s', async name => {
    await replay(bundle, name)
  })
})

describe('a change that would break open windows is caught', () => {
  let changed: WorkflowBundle

  beforeAll(async () => {
    changed = await bundleWorkflows(require.resolve('./changed-workflows'))
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
