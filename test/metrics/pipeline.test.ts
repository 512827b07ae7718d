import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { anyFreePort } from '../../src/cluster/ports'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import { Scrape } from './exposition'

let pipeline: TestPipeline
let address: string

beforeAll(async () => {
  address = `127.0.0.1:${await anyFreePort()}`
  pipeline = new TestPipeline({ METRICS_ADDRESS: address, WINDOW_SIZE: '1s', WATERMARK_DELAY: '0s' })
  await pipeline.command('migrate')
  await pipeline.createTopic(2)
  await pipeline.command('start')
  pipeline.startWorker()
}, 60_000)

afterAll(() => pipeline.destroy())

test('x', async () => {
  const now = Date.now()
  const event = (at: number, fields: object = {}) =>
    JSON.stringify({ event_time: at, host: 'a.example', ip: '8.8.8.8', ...fields })
  await pipeline.send([
    { partition: 0, value: event(now) },
    { partition: 0, value: event(now, { ip: '10.0.0.1' }) },
    { partition: 0, value: event(now - 10_000) },
    { partition: 1, value: 'nonsense' },
  ])
  await pipeline.untilAccounted(4)
  await until(async () => (await Scrape.of(address)).sum('web_traffic_ledger_records') === 4)
  console.log((await Scrape.of(address)).text)
})
