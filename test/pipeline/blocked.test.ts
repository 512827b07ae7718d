import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from '@jest/globals'
import type { Client } from '@temporalio/client'
import { NativeConnection, Worker } from '@temporalio/worker'
import { Client as Postgres } from 'pg'
import { pollerId, windowId } from '../../src/contract/ids'
import { retry } from '../../src/contract/messages'
import { formatWindow } from '../../src/core/window/tumbling-window'
import type { Finding } from '../../src/pipeline/doctor/finding'
import { packageRoot } from '../../src/package-root'
import { withTemporal } from '../../src/temporal/connection'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import { quietRuntime } from '../workflows/support'

const SIZE = 300_000
/** The start of a window that is over. */
const START = Math.floor((Date.now() - 3_600_000) / SIZE) * SIZE
const WINDOW = `Window ${formatWindow(START, SIZE)}`
const ids = { namespace: 'default', identity: 'ann@desk' }

let pipeline: TestPipeline
let stopBroken = () => Promise.resolve()
afterEach(async () => {
  await stopBroken()
  await pipeline.destroy()
})

const matching = (pattern: string) => expect.stringMatching(new RegExp(`^${pattern}`))
const paused = (activity: string, workflowId: string) =>
  `is paused: ann@desk paused its activity ${activity} at \\S+Z \\(a look\\)\\. Unpause it in the Web UI, or run: ` +
  `temporal activity unpause --workflow-id '${workflowId}' --activity-id \\d+$`
const cannotReplay = (name: string) =>
  `${name} cannot continue: its workflow task fails \\(attempt \\d+\\): \\[TMPRL1100\\] Nondeterminism error: .*\\. ` +
  'Deploy a worker build that replays open workflows \\(docs/changing-workflows\\.md\\)\\.'

async function problems(): Promise<string[]> {
  const { stdout } = await pipeline.attempt('status', '--json')
  return stdout === '' ? ['no status'] : (JSON.parse(stdout) as { problems: string[] }).problems
}

/** The pending activity of a workflow. */
async function activityOf(client: Client, workflowId: string): Promise<string | undefined> {
  const found = await client.workflow
    .getHandle(workflowId)
    .describe()
    .catch(() => undefined)
  return found?.raw.pendingActivities?.[0]?.activityId ?? undefined
}

async function pause(workflowId: string): Promise<void> {
  await withTemporal(async client => {
    let id: string | undefined
    await until(async () => (id = await activityOf(client, workflowId)) !== undefined)
    const execution = { workflowId }
    await client.workflowService.pauseActivity({ ...ids, execution, id: id!, reason: 'a look' })
  })
}

const unpause = (workflowId: string) =>
  withTemporal(async client => {
    const id = await activityOf(client, workflowId)
    if (id) await client.workflowService.unpauseActivity({ ...ids, execution: { workflowId }, id })
  })

/** Runs workflows whose steps have other names, as after a careless change; returns the function that stops it. */
async function startBrokenWorker(): Promise<() => Promise<void>> {
  quietRuntime()
  const built = await readFile(join(packageRoot(), 'dist', 'src', 'workers', 'workflow-bundle.js'), 'utf8')
  const code = built
    .replaceAll('the ledger looks after its workflows', 'the ledger looks away')
    .replaceAll('openWindow', 'otherWindow')
  const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS! })
  const { taskQueue } = pipeline.config
  const worker = await Worker.create({ connection, taskQueue, workflowBundle: { code } })
  const running = worker.run()
  return async () => {
    if (worker.getState() !== 'RUNNING') return
    worker.shutdown()
    await running
    await connection.close()
  }
}

test('paused activities and a worker build that does not replay are named, each with its remedy', async () => {
  pipeline = new TestPipeline({ LOG_LEVEL: 'error' })
  await pipeline.begin(1)
  const { group } = pipeline.config.settings
  const [poller, window] = [pollerId(group, 1), windowId(group, START)]
  const windows = pipeline.startWorker('windows')
  await until(async () =>
    (await problems()).some(problem =>
      problem.includes(`waits for a worker on the task queue "${group}/pollers"`),
    ),
  )

  await pause(poller)
  pipeline.startWorker('pollers')
  await sleep(4_000)
  expect(await problems()).toEqual([matching(`Poller 1 ${paused('pollKafka', poller)}`)])
  await unpause(poller)

  const postgres = new Postgres(pipeline.config.postgres)
  postgres.on('error', () => undefined)
  await postgres.connect()
  await postgres.query('begin')
  await postgres.query('lock table traffic_windows in access exclusive mode')
  const event = { event_time: START, host: 'a.example', referrer: '', ip: '193.0.6.139' }
  await pipeline.send(Array.from({ length: 3 }, () => ({ value: JSON.stringify(event) })))
  await pause(window)
  const pausedWindow = new RegExp(`^${WINDOW} ${paused('openWindow', window)}`)
  await until(async () => (await problems()).some(problem => pausedWindow.test(problem)))
  await unpause(window)

  await pipeline.killWorker(windows)
  await postgres.end()
  stopBroken = await startBrokenWorker()
  await withTemporal(client => client.workflow.getHandle(window).signal(retry))
  const failed = async () => {
    const { stdout } = await pipeline.attempt('doctor', '--json')
    return (JSON.parse(stdout) as Finding[]).filter(({ state }) => state === 'failed').map(({ says }) => says)
  }
  // Until a workflow has its next task, only its queries show that it cannot replay.
  const blocked = async () => (await failed()).filter(says => says.includes('its workflow task fails'))
  await until(async () => (await blocked()).length === 2, 90_000)
  expect(await failed()).toEqual([matching(cannotReplay('The ledger')), matching(cannotReplay(WINDOW))])
  for (const command of ['status', 'windows', 'start', 'stop']) {
    const { stdout, stderr, code } = await pipeline.attempt(command)
    expect({ command, stdout, stderr, code }).toEqual({
      command,
      stdout: '',
      stderr: matching(`${cannotReplay('The ledger')}\n$`),
      code: 1,
    })
  }

  await stopBroken()
  pipeline.startWorker('windows')
  await pipeline.untilAccounted(3)
  await until(async () => (await problems()).length === 0)
}, 300_000)

test('a worker of another build, and a poller that Postgres refuses permanently, are named with the remedy', async () => {
  pipeline = new TestPipeline({ LOG_LEVEL: 'error' })
  await pipeline.begin(1)
  const { group } = pipeline.config.settings
  const other = pipeline.startWorker('windows', { WORKER_BUILD_ID: 'a' })
  const waits =
    `The ledger waits for a worker with no WORKER_BUILD_ID, but the workers on the task queue "${group}" ` +
    '(TEMPORAL_TASK_QUEUE) of the namespace "default" have WORKER_BUILD_ID=a: '
  await until(async () => (await pipeline.attempt('status')).stderr.startsWith(waits), 60_000)
  await pipeline.stopWorker(other)

  await pipeline.query('alter table staged_deltas rename to staged_elsewhere')
  pipeline.startWorker()
  const referrer = (i: number) => `https://referrer-${i}.example/a/path/of/some/length`
  const event = (i: number) => ({
    event_time: START,
    host: 'a.example',
    referrer: referrer(i),
    ip: '192.0.2.1',
  })
  await pipeline.send(Array.from({ length: 3_000 }, (_, i) => ({ value: JSON.stringify(event(i)) })))
  const fails =
    /^Poller 1 fails \(attempt [2-9]\): The schema in .*"staged_deltas".*: run "web-traffic migrate"/
  await until(async () => (await problems()).some(problem => fails.test(problem)), 90_000)
  await pipeline.query('alter table staged_elsewhere rename to staged_deltas')
  await pipeline.untilAccounted(3_000)
}, 300_000)
