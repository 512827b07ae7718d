import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { program } from '../../src/dev/program'

/** Runs a worker that ends with an error before it contacts any server. */
async function worker(METRICS_ADDRESS: string): Promise<{ code: number; stderr: string }> {
  const env = { ...process.env, METRICS_ADDRESS }
  return promisify(execFile)(process.execPath, [program, 'worker'], { env, timeout: 20_000 }).then(
    ({ stderr }) => ({ code: 0, stderr }),
    (error: { code: number; stderr: string }) => ({ code: error.code, stderr: error.stderr }),
  )
}

test('an address in use is reported in one line', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const { code, stderr } = await worker(address)
  server.close()
  expect(code).not.toBe(0)
  expect(stderr.trim().split('\n')).toHaveLength(1)
  expect(stderr).toContain(`METRICS_ADDRESS: cannot listen on ${address} (Address already in use`)
})

test('a host that cannot be resolved is reported in one line', async () => {
  const { code, stderr } = await worker('nowhere.invalid:9464')
  expect(code).not.toBe(0)
  expect(stderr.trim().split('\n')).toHaveLength(1)
  expect(stderr).toMatch(
    /METRICS_ADDRESS: nowhere\.invalid cannot be resolved \(E\w+\): set another address\./,
  )
})
