import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, expect, test } from '@jest/globals'
import { packageRoot } from '../../src/package-root'
import { findTemporalProgram } from '../../src/dev/cluster/temporal-program'
import { ingestId } from '../../src/contract/ids'
import { openCountryDatabase } from '../../src/geo/country'
import { countLog } from '../../trials/oracle/reference'
import { withTemporal } from '../../src/temporal/connection'
import { expectCounts } from '../support/counts'
import { TestPipeline } from '../support/pipeline'

const WINDOW = 2_000
const DELAY = 500

let pipeline: TestPipeline
afterEach(() => pipeline.destroy())

test('a ledger that was terminated is not begun anew, and goes on exactly where it was once it is reset', async () => {
  pipeline = new TestPipeline({
    WINDOW_SIZE: `${WINDOW}ms`,
    WATERMARK_DELAY: `${DELAY}ms`,
    // Its pollers have nobody to ask meanwhile.
    LOG_LEVEL: 'silent',
  })
  await pipeline.begin(1)
  pipeline.startWorker()
  const mix = ['--late', '0.05', '--malformed', '0.02', '--disorder', '300ms', '--json', '--quiet']
  const traffic = pipeline.command('produce', '--synthetic', '--rate', '500', '--for', '30s', ...mix)
  let done = 0
  for (let terminated = 0; terminated < 3; terminated++) {
    done = (await pipeline.untilDone(done + 1_000)).records
    await terminateLedger()
    await sleep(2_000)
    const refused = await pipeline.attempt('start')
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toMatch(/^The ledger of ".*" is gone from Temporal [^\n]*\n$/)
    // Whoever is asked says the same.
    for (const command of ['status', 'pause'])
      expect((await pipeline.attempt(command)).stderr).toBe(refused.stderr)
    expect((await pipeline.attempt('doctor')).stdout).toContain(refused.stderr.trim().slice(0, 60))
    // As the message says.
    await reset(/temporal (workflow reset .*?")\. /.exec(refused.stderr)![1]!)
  }
  const { sent } = JSON.parse(await traffic) as { sent: number }
  await pipeline.untilAccounted(sent)
  await expectCounts(
    pipeline.db,
    countLog(await pipeline.readLog(), await openCountryDatabase(), WINDOW, DELAY),
  )
}, 300_000)

test('a first start that ended before there was a ledger can be repeated', async () => {
  pipeline = new TestPipeline()
  await pipeline.begin(1)
  await terminateLedger()
  expect(await pipeline.command('start')).toContain('Started')
}, 60_000)

function terminateLedger(): Promise<unknown> {
  const { group } = pipeline.config.settings
  return withTemporal(client => client.workflow.getHandle(ingestId(group)).terminate('by mistake'))
}

async function reset(command: string): Promise<void> {
  const { file } = await findTemporalProgram({
    dir: tmpdir(),
    cache: join(packageRoot(), 'node_modules', '.cache', 'web-traffic'),
    environment: process.env,
    report: () => undefined,
    signal: new AbortController().signal,
  })
  const args = [...command.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word)
  await promisify(execFile)(file, [...args, '--address', process.env.TEMPORAL_ADDRESS!])
}
