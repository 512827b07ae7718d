import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { clusterEnvironment } from '../../src/cluster'

export const program = join(__dirname, '..', '..', 'bin', 'web-traffic.js')

let cluster: ChildProcess | undefined

/**
 * One cluster for all tests, in a temporary folder, by the product's own command. Its input is a pipe of the test
 * run: however that ends, the cluster ends with it and removes its folder.
 */
export async function startSharedCluster(): Promise<void> {
  const dir = join(tmpdir(), `web-traffic-test-${randomUUID()}`)
  const args = ['cluster', 'up', '--dir', dir, '--ephemeral', '--watch-stdin']
  const named = /^(KAFKA|POSTGRES|TEMPORAL)_/
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !named.test(name)))
  // A group of its own: Ctrl-C reaches the tests first, and the cluster by the end of its input.
  cluster = spawn(process.execPath, [program, ...args], { stdio: 'pipe', detached: true, env: environment })
  const lines: string[] = []
  const ready = new Promise<void>((resolve, reject) => {
    for (const stream of [cluster!.stdout!, cluster!.stderr!])
      createInterface(stream).on('line', line => {
        lines.push(line)
        if (line.startsWith('Ctrl-C')) resolve()
      })
    cluster!.once('exit', () => reject(new Error(`The cluster did not start:\n${lines.join('\n')}`)))
  })
  await ready
  for (const name of Object.keys(process.env)) if (named.test(name)) delete process.env[name]
  Object.assign(process.env, clusterEnvironment(dir), { WEB_TRAFFIC_TEST_CLUSTER: dir })
}

export async function stopSharedCluster(): Promise<void> {
  if (cluster?.exitCode !== null) return
  const exited = once(cluster, 'exit')
  cluster.stdin!.end()
  await exited
}
