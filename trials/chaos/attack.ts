import { setTimeout as sleep } from 'node:timers/promises'
import { Client as Postgres } from 'pg'
import type { Config } from '../../src/config'
import type { ComponentName } from '../../src/dev/cluster/state'
import type { Fault, FaultKind } from './faults'
import type { Relays } from './relays'
import type { Servers } from './servers'
import { suspendProcesses } from './suspend-processes'
import type { Workers } from './workers'

export interface Target {
  servers: Servers
  relays: Relays
  workers: Workers
  config: Config
  /** Sets the number of pollers. */
  scale: (pollers: number) => Promise<void>
  signal: AbortSignal
}

/** Milliseconds. Longer than the flush interval: by then every poller that has read anything is waiting for a flush. */
const ALL_IN_FLUSH = 800

type Strike = (target: Target, fault: Fault) => Promise<void>

const STRIKES: Record<FaultKind, Strike> = {
  killWorker: async ({ workers, signal }, { victim, duration }) => {
    await workers.kill(workers.pick(victim))
    await pause(duration, signal)
    workers.start()
  },
  killAllWorkers: ({ workers }) => replaceAll(workers),
  killAllInFlush: async ({ workers, servers, signal }) => {
    // No worker can report as done what the windows have accepted, so all of it is read and sent again.
    const resume = await servers.suspend('temporal')
    await resumeAfter(resume, ALL_IN_FLUSH, signal, () => replaceAll(workers))
  },
  stopWorker: async ({ workers, signal }, { victim, duration }) => {
    await workers.stop(workers.pick(victim))
    await pause(duration, signal)
    workers.start()
  },
  addWorker: async ({ workers, scale, signal }, { duration }) => {
    const { count } = workers
    const added = workers.start()
    await workers.untilReady(added)
    await scale(count + 1)
    await pause(duration, signal)
    await scale(count)
    await workers.stop(added)
  },
  zombie: async ({ workers, signal }, { victim, duration }) =>
    resumeAfter(await suspendProcesses([workers.pick(victim).child.pid!]), duration, signal),
  zombieInFlush: async ({ workers, servers, signal }, { victim, duration }) => {
    // While Temporal is suspended, the flush cannot finish before its worker is suspended.
    const resumeTemporal = await servers.suspend('temporal')
    let resumeWorker = () => Promise.resolve()
    await resumeAfter(resumeTemporal, ALL_IN_FLUSH, signal, async () => {
      resumeWorker = await suspendProcesses([workers.pick(victim).child.pid!])
    })
    await resumeAfter(resumeWorker, duration, signal)
  },
  cutConnections: ({ config, signal }, { duration }) => cutTransactions(config, duration, signal),
  swallowPostgres: ({ relays }) => Promise.resolve(relays.postgres.swallow()),
  swallowTemporal: ({ relays }) => Promise.resolve(relays.temporal.swallow()),
  killKafka: outage('kafka'),
  killTemporal: outage('temporal'),
  killPostgres: outage('postgres'),
  kafkaLongOutage: outage('kafka'),
  temporalLongOutage: outage('temporal'),
  postgresLongOutage: outage('postgres'),
  kafkaHangs: hang('kafka'),
  temporalHangs: hang('temporal'),
  postgresHangs: hang('postgres'),
}

/** Carries out a fault; resolves when it has ended. */
export function strike(target: Target, fault: Fault): Promise<void> {
  return STRIKES[fault.kind](target, fault)
}

function outage(name: ComponentName): Strike {
  return async ({ servers, signal }, { duration }) => {
    await servers.kill(name)
    await pause(duration, signal)
    await servers.start()
  }
}

function hang(name: ComponentName): Strike {
  return async ({ servers, signal }, { duration }) =>
    resumeAfter(await servers.suspend(name), duration, signal)
}

async function replaceAll(workers: Workers): Promise<void> {
  const { count } = workers
  await workers.killAll()
  for (let n = 0; n < count; n++) workers.start()
}

/** Waits, runs `before`, and resumes; resumes at once if interrupted. */
async function resumeAfter(
  resume: () => Promise<void>,
  duration: number,
  signal: AbortSignal,
  before?: () => Promise<void>,
): Promise<void> {
  try {
    await pause(duration, signal)
    await before?.()
  } finally {
    await resume()
  }
}

const pause = (duration: number, signal: AbortSignal) => sleep(duration, undefined, { signal })

/** For `duration` milliseconds, terminates every session of the pipeline that is in a transaction. */
async function cutTransactions({ postgres }: Config, duration: number, signal: AbortSignal): Promise<void> {
  const client = new Postgres({ ...postgres })
  await client.connect()
  try {
    const end = Date.now() + duration
    while (Date.now() < end) {
      await client.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'web-traffic' and xact_start is not null and pid <> pg_backend_pid()`,
      )
      await pause(1, signal)
    }
  } finally {
    await client.end()
  }
}
