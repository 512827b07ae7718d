import { afterEach, beforeEach, test } from '@jest/globals'
import type { Browser } from 'playwright-core'
import { ingestId } from '../../src/contract/ids'
import { openCountryDatabase } from '../../src/geo/country'
import { countLog } from '../../trials/oracle/reference'
import { withTemporal } from '../../src/temporal/connection'
import { expectCounts } from '../support/counts'
import { TestPipeline } from '../support/pipeline'
import { openBrowser } from './browser'

const WINDOW = 2_000
const DELAY = 500

let pipeline: TestPipeline
let browser: Browser
beforeEach(async () => {
  browser = await openBrowser()
}, 120_000)
afterEach(async () => {
  await browser.close()
  await pipeline.destroy()
})

test('a terminated ledger resumes exactly where it was after a reset in the Web UI', async () => {
  pipeline = new TestPipeline({
    WINDOW_SIZE: `${WINDOW}ms`,
    WATERMARK_DELAY: `${DELAY}ms`,
    // The pollers log errors while the ledger is gone.
    LOG_LEVEL: 'silent',
  })
  await pipeline.command('migrate')
  await pipeline.createTopic(1)
  await pipeline.command('start')
  pipeline.startWorker()
  const mix = ['--late', '0.05', '--malformed', '0.02', '--disorder', '300ms', '--json', '--quiet']
  const traffic = pipeline.command('produce', '--synthetic', '--rate', '300', '--for', '20s', ...mix)
  const id = ingestId(pipeline.config.settings.group)
  await pipeline.untilDone(1_500)
  await withTemporal(client => client.workflow.getHandle(id).terminate('by mistake'))

  // The steps in docs/operations.md.
  const page = await browser.newPage({ viewport: { width: 1400, height: 1100 } })
  const { TEMPORAL_UI_URL, TEMPORAL_NAMESPACE } = process.env
  await page.goto(`${TEMPORAL_UI_URL}/namespaces/${TEMPORAL_NAMESPACE}/workflows/${encodeURIComponent(id)}`)
  await page.getByRole('button', { name: 'Reset', exact: true }).click({ timeout: 60_000 })
  const dialog = page.getByRole('dialog')
  await dialog.locator('[aria-haspopup]').first().click()
  await page.getByRole('option', { name: 'WorkflowTaskCompleted' }).last().click()
  await dialog.getByRole('button', { name: 'Confirm' }).click()

  const { sent } = JSON.parse(await traffic) as { sent: number }
  await pipeline.untilAccounted(sent)
  await expectCounts(
    pipeline.db,
    countLog(await pipeline.readLog(), await openCountryDatabase(), WINDOW, DELAY),
  )
}, 180_000)
