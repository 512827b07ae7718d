import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { program } from '../../src/dev/program'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'web-traffic-demo-test-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

/** Runs the demo in an empty folder. */
function startDemo(...args: string[]) {
  const demo = spawn(process.execPath, [program, 'demo', ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [demo.stdout, demo.stderr])
    stream.on('data', (data: Buffer) => (output += data.toString()))
  const ended = once(demo, 'exit') as Promise<[number | null]>
  const printed = async (text: RegExp) => {
    while (!text.test(output) && demo.exitCode === null)
      await Promise.race([once(demo.stdout, 'data'), ended])
    return output
  }
  return { demo, printed, ended }
}

/** Ports of printed addresses that still accept connections. */
async function stillAnswering(output: string): Promise<string[]> {
  const addresses = [...output.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port))
  const { connect } = await import('node:net')
  const answers = await Promise.all(
    [...new Set(addresses)].map(
      port =>
        new Promise<string | undefined>(resolve => {
          const socket = connect(port, '127.0.0.1', () => socket.destroy() && resolve(String(port)))
          socket.on('error', () => resolve(undefined))
        }),
    ),
  )
  return answers.filter(answer => answer !== undefined)
}

test('a demo with a duration adds up, and stops everything that it started', async () => {
  const { printed, ended } = startDemo('--for', '12s', '--rate', '200')
  const [code] = await ended
  const output = await printed(/./)
  expect({ code, output }).toMatchObject({ code: 0 })
  const [, sent, hits, late, rejected] = /records (\d+) = hits (\d+) \+ late (\d+) \+ rejected (\d+)/
    .exec(output)!
    .map(Number)
  expect(sent).toBeGreaterThan(2_000)
  expect(hits! + late! + rejected!).toBe(sent)
  expect(output).toMatch(/Temporal Web UI: .*http:\/\/127\.0\.0\.1:\d+/)
  expect(await stillAnswering(output)).toEqual([])
  expect(await readdir(folder)).toEqual([])
}, 300_000)

test('Ctrl-C stops everything that the demo started, even if make passes the signal on once more', async () => {
  const { demo, printed, ended } = startDemo('--rate', '200')
  const [, dashboard] = /Dashboard: .*(http:\/\/127\.0\.0\.1:\d+\/)/.exec(await printed(/windows open/))!
  expect(await (await fetch(dashboard!)).text()).toContain('<h1>Web traffic</h1>')
  demo.kill('SIGINT')
  demo.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
  expect(await stillAnswering(await printed(/./))).toEqual([])
  expect(await readdir(folder)).toEqual([])
}, 300_000)
