import { spawn } from 'node:child_process'
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals'
import { stopCluster } from '../../../src/dev/cluster/down'
import { clusterEnvironment } from '../../../src/dev/cluster/environment'
import { anyFreePort, isReachable } from '../../../src/dev/cluster/ports'
import { identify, isAlive } from '../../../src/dev/cluster/process-identity'
import { clusterStatus } from '../../../src/dev/cluster/status'
import { startCluster, type ClusterOptions } from '../../../src/dev/cluster/up'
import { sql, withKafka, withTemporal } from './clients'

jest.setTimeout(120_000)

const parent = mkdtempSync(join(tmpdir(), 'web-traffic-cluster-'))
const dir = join(parent, 'one')
const environment: NodeJS.ProcessEnv = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(TEMPORAL_|KAFKA_URL|POSTGRES_)/.test(name)),
)

const ports = async () => ({
  kafkaPort: await anyFreePort(),
  temporalPort: await anyFreePort(),
  temporalUiPort: await anyFreePort(),
  postgresPort: await anyFreePort(),
})

const clusterUp = async (options: ClusterOptions) => (await startCluster(options)).state

const pids = (folder: string) => Object.values(clusterStatus(folder).components).map(({ pid }) => pid)

const environmentOf = (folder: string) => {
  const found = clusterEnvironment(folder)
  if (found === undefined) throw new Error(`no cluster is up in ${folder}`)
  return found
}

/** A port that is in use while `use` runs. */
const withTakenPort = async <T>(use: (port: number) => Promise<T>): Promise<T> => {
  const port = await anyFreePort()
  const server = createServer().listen(port, '127.0.0.1')
  try {
    return await use(port)
  } finally {
    server.close()
  }
}

describe('a cluster of real components', () => {
  const lines: string[] = []
  const report = (line: string) => void lines.push(line)

  beforeAll(async () => {
    const options = { dir, environment, report, ...(await ports()) }
    // Two at once: the second waits for the first and finds the servers running.
    const [first, second] = await Promise.all([clusterUp(options), clusterUp(options)])
    expect(second).toEqual(first)
  })

  afterAll(async () => {
    await stopCluster(dir)
    rmSync(parent, { recursive: true })
  })

  it('reports what was started, and makes one of two starts wait for the other', () => {
    const text = lines.join('\n')
    for (const title of ['PostgreSQL', 'Kafka', 'Temporal'])
      expect(text).toContain(`${title}: up on 127.0.0.1`)
    expect(lines.filter(line => /is using .*; waiting for it$/.test(line))).toHaveLength(1)
    expect(lines.filter(line => line.startsWith('already up'))).toHaveLength(1)
  })

  it('has every component running, with its address, process and log', async () => {
    const { up, components } = clusterStatus(dir)
    expect(up).toBe(true)
    for (const { state, address, pid, log } of Object.values(components)) {
      expect(state).toBe('running')
      expect(address).toMatch(/^127\.0\.0\.1:\d+$/)
      expect(pid).toBeGreaterThan(1)
      expect(readFileSync(log ?? '', 'utf8')).not.toBe('')
    }
    const url = new URL(environmentOf(dir).TEMPORAL_UI_URL ?? '')
    expect((await fetch(url)).status).toBe(200)
  })

  it('does not let Kafka create topics automatically', async () => {
    const topics = await withKafka(environmentOf(dir), async admin => {
      await admin.fetchTopicMetadata({ topics: ['never-created'] }).catch(() => undefined)
      return admin.listTopics()
    })
    expect(topics).not.toContain('never-created')
  })

  it('refuses another port for a running server, and changes nothing', async () => {
    const before = pids(dir)
    await expect(clusterUp({ dir, environment, kafkaPort: await anyFreePort() })).rejects.toThrow(
      /already up on port/,
    )
    expect(pids(dir)).toEqual(before)
  })

  it('recognises its own addresses in the environment', async () => {
    const before = pids(dir)
    await clusterUp({ dir, environment: { ...environment, ...environmentOf(dir) } })
    expect(pids(dir)).toEqual(before)
  })

  it('starts again after every server was killed, with its data and ports, and despite stale locks', async () => {
    const before = environmentOf(dir)
    await sql(before, 'create table kept as select 42 as answer')
    await withKafka(before, admin => admin.createTopics({ topics: [{ topic: 'kept' }] }))
    const start = { taskQueue: 'none', workflowId: 'kept', workflowTaskTimeout: '10s' as const }
    await withTemporal(before, client => client.workflow.start('none', start))
    for (const pid of pids(dir)) process.kill(pid ?? 0, 'SIGKILL')
    while (Object.values(clusterStatus(dir).components).some(({ state }) => state !== 'dead')) await sleep(20)
    expect(clusterEnvironment(dir)).toBeUndefined()

    // By now the pids in both locks belong to another process: this one.
    const pidFile = join(dir, 'postgres', 'data', 'postmaster.pid')
    const [, ...rest] = readFileSync(pidFile, 'utf8').split('\n')
    writeFileSync(pidFile, [String(process.pid), ...rest].join('\n'))
    writeFileSync(join(dir, 'lock'), JSON.stringify({ pid: process.pid, started: 'earlier', token: 'dead' }))
    await clusterUp({ dir, environment })

    expect(environmentOf(dir)).toEqual(before)
    expect(await sql(before, 'select answer from kept')).toEqual([{ answer: 42 }])
    const partitions = await withKafka(before, admin => admin.fetchTopicMetadata({ topics: ['kept'] }))
    expect(partitions.topics[0]?.partitions).toHaveLength(4)
    const kept = await withTemporal(before, client => client.workflow.getHandle('kept').describe())
    expect(kept.status.name).toBe('RUNNING')
  })

  it('starts only the server that died', async () => {
    const before = environmentOf(dir)
    const [postgres, kafka, temporal] = pids(dir)
    process.kill(postgres ?? 0, 'SIGKILL')
    while (isAlive(identify(postgres ?? 0))) await sleep(20)
    expect(clusterStatus(dir).components.postgres.state).toBe('dead')
    expect(environmentOf(dir)).toEqual(before)
    await clusterUp({ dir, environment })
    const after = pids(dir)
    expect(after[0]).not.toBe(postgres)
    expect(after.slice(1)).toEqual([kafka, temporal])
    expect(await sql(environmentOf(dir), 'select answer from kept')).toEqual([{ answer: 42 }])
  })

  it('runs a second cluster in the foreground, which stops when standard input closes', async () => {
    const other = join(parent, 'two')
    const chosen = Object.entries(await ports()).flatMap(([name, port]) => [
      `--${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`,
      String(port),
    ])
    const args = [
      join(__dirname, 'run-cluster-command.js'),
      'up',
      '--dir',
      other,
      '--watch-stdin',
      '--ephemeral',
    ]
    const child = spawn(process.execPath, [...args, ...chosen], { env: environment })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
    const exited = new Promise<number | null>(resolve => child.once('exit', resolve))
    while (!output.includes('Ctrl-C stops the servers') && child.exitCode === null) await sleep(50)

    const second = environmentOf(other)
    const taken = Object.values(environmentOf(dir)).filter(value => value.includes(':'))
    expect(Object.values(second).filter(value => taken.includes(value))).toEqual([])
    const servers = pids(other).map(pid => identify(pid ?? 0))
    const temporal = servers[2]
    process.kill(temporal?.pid ?? 0, 'SIGKILL')
    while (!output.includes('Temporal died') && child.exitCode === null) await sleep(50)

    child.stdin.end()
    expect(await exited).toBe(0)
    expect(output).toContain('stopping')
    expect(servers.map(isAlive)).toEqual([false, false, false])
    expect(existsSync(other)).toBe(false)
    expect(clusterStatus(dir).up).toBe(true)
  })

  it('stops, and can be stopped again', async () => {
    const [host, port] = (environmentOf(dir).KAFKA_URL ?? '').split(':')
    const reported: string[] = []
    await stopCluster(dir, { report: line => reported.push(line) })
    expect(reported.sort()).toEqual(['Kafka: stopped', 'PostgreSQL: stopped', 'Temporal: stopped'])
    expect(clusterEnvironment(dir)).toBeUndefined()
    expect(await isReachable(host ?? '', Number(port), 500)).toBe(false)
    reported.length = 0
    await stopCluster(dir, { report: line => reported.push(line) })
    expect(reported).toEqual([`nothing is running in ${dir}`])
    const states = Object.values(clusterStatus(dir).components).map(({ state }) => state)
    expect(states).toEqual(['stopped', 'stopped', 'stopped'])
  })

  it('shows the log of a server that does not start, and leaves no other server running', async () => {
    appendFileSync(join(dir, 'postgres', 'data', 'postgresql.conf'), "nonsense = 'yes'\n")
    const expected = /^PostgreSQL exited during its start: .*nonsense.* \(log: .*postgres\.log\)$/
    await expect(clusterUp({ dir, environment })).rejects.toThrow(expected)
    const states = Object.values(clusterStatus(dir).components).map(({ state }) => state)
    expect(states).toEqual(['stopped', 'stopped', 'stopped'])
  })
})

describe('a start that cannot succeed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'web-traffic-cluster-'))

  afterAll(() => rmSync(folder, { recursive: true }))

  it('names the missing program and how to get it', async () => {
    await withTakenPort(async port => {
      // An external Temporal, so that none is downloaded.
      const bare = { PATH: folder, TEMPORAL_ADDRESS: `127.0.0.1:${port}` }
      const start = clusterUp({ dir: join(folder, 'bare'), environment: bare, cache: join(folder, 'cache') })
      await expect(start).rejects.toThrow(/Apache Kafka was not found \(no Java on the PATH\)\. Install it /)
    })
  })

  it('refuses a port that is in use before it starts anything', async () => {
    await withTakenPort(async port => {
      const start = clusterUp({ dir: join(folder, 'taken'), environment, postgresPort: port })
      await expect(start).rejects.toThrow(`Port ${port} for PostgreSQL is in use`)
    })
    expect(pids(join(folder, 'taken'))).toEqual([undefined, undefined, undefined])
  })

  it('refuses an unreachable address in the environment', async () => {
    const KAFKA_URL = `127.0.0.1:${await anyFreePort()}`
    const start = clusterUp({ dir: join(folder, 'unreachable'), environment: { ...environment, KAFKA_URL } })
    await expect(start).rejects.toThrow(/Kafka at .* is unreachable\. .*unset KAFKA_URL/)
  })

  it('refuses a folder with other content', async () => {
    writeFileSync(join(folder, 'something'), '')
    await expect(clusterUp({ dir: folder, environment })).rejects.toThrow(/has other content than a cluster/)
  })
})

describe('servers that the environment names', () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'web-traffic-cluster-')), 'external')

  afterAll(() => rmSync(join(folder, '..'), { recursive: true }))

  it('are neither started nor stopped, and passed on', async () => {
    await withTakenPort(async port => {
      const named = {
        TEMPORAL_ADDRESS: `localhost:${port}`,
        TEMPORAL_NAMESPACE: 'theirs',
        KAFKA_URL: `127.0.0.1:1,127.0.0.1:${port}`,
        POSTGRES_URL: `jdbc:postgresql://127.0.0.1:${port}/theirs`,
        POSTGRES_PASSWORD: "it's",
      }
      await clusterUp({ dir: folder, environment: { ...environment, ...named } })
      expect(clusterEnvironment(folder)).toEqual(named)
      const { up, components } = clusterStatus(folder)
      expect(up).toBe(true)
      expect(components.postgres).toEqual({ state: 'external', address: `127.0.0.1:${port}` })
      await stopCluster(folder)
      expect(clusterEnvironment(folder)).toBeUndefined()
      expect(await isReachable('127.0.0.1', port, 500)).toBe(true)
    })
  })
})
