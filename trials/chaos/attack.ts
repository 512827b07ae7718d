import { setTimeout as sleep } from 'node:timers/promises'
import { Client as Postgres } from 'pg'
import type { ComponentName } from '../../src/dev/cluster'
import type { Config } from '../../src/config'
import type { Fault, FaultKind } from './faults'
import { holdProcesses } from './held-processes'
import type { Servers } from './servers'
import type { Workers } from './workers'

/** What the faults are done to. */
export interface Target {
  servers: Servers
  workers: Workers
  config: Config
  /** Sets how many pollers there are. */
  scale: (pollers: number) => Promise<void>
  signal: AbortSignal
}

/** Longer than the flush interval: whoever reads anything waits in a flush by then. Milliseconds. */
const EVERYONE_FLUSHES = 800

type Strike = (target: Target, fault: Fault) => Promise<void>

const STRIKES: Record<FaultKind, Strike> = {
  killWorker: async ({ workers, signal }, { victim, duration }) => {
    await workers.kill(workers.pick(victim))
    await pause(duration, signal)
    workers.start()
  },
  killAllWorkers: ({ workers }) => replaceAll(workers),
  killAllInFlush: async ({ workers, servers, signal }) => {
    const temporal = await servers.hold('temporal')
    // Not one of them can say done what the windows have taken: all of it is read and sent again.
    await during(temporal, EVERYONE_FLUSHES, signal, () => replaceAll(workers))
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
    during(await holdProcesses([workers.pick(victim).child.pid!]), duration, signal),
  zombieInFlush: async ({ workers, servers, signal }, { victim, duration }) => {
    // Temporal is held, so that the flush cannot be over when its worker is stopped.
    const temporal = await servers.hold('temporal')
    let wake = () => Promise.resolve()
    await during(temporal, EVERYONE_FLUSHES, signal, async () => {
      wake = await holdProcesses([workers.pick(victim).child.pid!])
    })
    await during(wake, duration, signal)
  },
  cutConnections: ({ config, signal }, { duration }) => cutTransactions(config, duration, signal),
  killKafka: outage('kafka'),
  killTemporal: outage('temporal'),
  killPostgres: outage('postgres'),
  kafkaAway: outage('kafka'),
  temporalAway: outage('temporal'),
  postgresAway: outage('postgres'),
  kafkaHangs: hang('kafka'),
  temporalHangs: hang('temporal'),
  postgresHangs: hang('postgres'),
}

/** Carries out a fault, and resolves when it is over. */
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
  return async ({ servers, signal }, { duration }) => during(await servers.hold(name), duration, signal)
}

async function replaceAll(workers: Workers): Promise<void> {
  const { count } = workers
  await workers.killAll()
  for (let n = 0; n < count; n++) workers.start()
}

/** Lets go what is held after so long, and what is done then, or at once where it is interrupted. */
async function during(
  letGo: () => Promise<void>,
  duration: number,
  signal: AbortSignal,
  then?: () => Promise<void>,
): Promise<void> {
  try {
    await pause(duration, signal)
    await then?.()
  } finally {
    await letGo()
  }
}

const pause = (duration: number, signal: AbortSignal) => sleep(duration, undefined, { signal })

/** Ends every session of the pipeline that is found in a transaction, for so long. */
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
