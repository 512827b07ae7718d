import type { ComponentName } from '../../src/dev/cluster/state'
import { Random } from '../../src/dev/traffic/random'

interface Kind {
  title: string
  /** Min and max milliseconds from the strike until its target is resumed or restarted. */
  lasts: [min: number, max: number]
  strikes: 'a worker' | 'all workers' | ComponentName
}

/** Longer than a heartbeat of the poller (7 s), a session of the consumer group (7 s) and a rebalance (15 s) take. */
const PAST_SESSION: Kind['lasts'] = [12_000, 18_000]
/** Longer than kafkajs, gRPC and pg wait for any request, retry or connection. */
const PAST_TIMEOUTS: Kind['lasts'] = [32_000, 40_000]
const AT_ONCE: Kind['lasts'] = [0, 0]
const A_MOMENT: Kind['lasts'] = [0, 3_000]

const kind = (title: string, strikes: Kind['strikes'], lasts: Kind['lasts']): Kind => ({
  title,
  strikes,
  lasts,
})

/** Their order decides the schedule of a seed. */
export const KINDS = {
  killWorker: kind('SIGKILL of a worker', 'a worker', A_MOMENT),
  killAllWorkers: kind('SIGKILL of all workers', 'all workers', AT_ONCE),
  killAllInFlush: kind('SIGKILL of all workers in a flush', 'all workers', AT_ONCE),
  stopWorker: kind('SIGTERM of a worker', 'a worker', A_MOMENT),
  addWorker: kind('a worker and a poller added, then removed', 'a worker', [4_000, 8_000]),
  zombie: kind('SIGSTOP of a worker, SIGCONT', 'a worker', PAST_SESSION),
  zombieInFlush: kind('SIGSTOP of a worker in a flush, SIGCONT', 'a worker', PAST_SESSION),
  cutConnections: kind('Postgres transactions cut', 'postgres', [10_000, 14_000]),
  swallowPostgres: kind('packets to Postgres swallowed', 'postgres', AT_ONCE),
  swallowTemporal: kind('packets to Temporal swallowed', 'temporal', AT_ONCE),
  killKafka: kind('SIGKILL of Kafka', 'kafka', AT_ONCE),
  killTemporal: kind('SIGKILL of Temporal', 'temporal', AT_ONCE),
  killPostgres: kind('SIGKILL of Postgres', 'postgres', AT_ONCE),
  kafkaLongOutage: kind('SIGKILL of Kafka, long outage', 'kafka', PAST_TIMEOUTS),
  temporalLongOutage: kind('SIGKILL of Temporal, long outage', 'temporal', PAST_TIMEOUTS),
  postgresLongOutage: kind('SIGKILL of Postgres, long outage', 'postgres', PAST_TIMEOUTS),
  kafkaHangs: kind('SIGSTOP of Kafka, SIGCONT', 'kafka', PAST_TIMEOUTS),
  temporalHangs: kind('SIGSTOP of Temporal, SIGCONT', 'temporal', PAST_TIMEOUTS),
  postgresHangs: kind('SIGSTOP of Postgres, SIGCONT', 'postgres', PAST_TIMEOUTS),
}

export type FaultKind = keyof typeof KINDS

export interface Fault {
  kind: FaultKind
  /** Milliseconds between the recovery from the last fault, or its end if this fault overtakes, and the strike. */
  pause: number
  /** Strikes without waiting until the pipeline has recovered from the last fault. */
  overtakes: boolean
  /** Milliseconds from the strike to the end. */
  duration: number
  /** The worker that is struck: an index, modulo the number of workers. */
  victim: number
}

const LONG: [FaultKind, FaultKind][] = [
  ['kafkaLongOutage', 'postgresHangs'],
  ['postgresLongOutage', 'temporalHangs'],
  ['temporalLongOutage', 'kafkaHangs'],
]
const BRIEF = (Object.keys(KINDS) as FaultKind[]).filter(kind => !LONG.flat().includes(kind))
/** The faults of an even and of an odd seed in the short form. */
const SHORT: FaultKind[][] = [
  ['zombieInFlush', 'killKafka', 'killTemporal'],
  ['killAllInFlush', 'addWorker', 'killPostgres', 'cutConnections'],
]
const OVERTAKING = 0.2

/**
 * The faults of a seed, in order; a pure function. The long form has every brief kind and two long outages; three
 * consecutive seeds cover all kinds. In the short form two consecutive seeds cover the kinds in `SHORT`.
 */
export function schedule(seed: number, short: boolean): Fault[] {
  const random = new Random(seed)
  const kinds = short ? SHORT[seed % 2]! : [...BRIEF, ...LONG[seed % 3]!]
  return shuffle(kinds, random).map((kind, index) => {
    const overtakes = !short && index > 0 && random.fraction() < OVERTAKING
    const [min, max] = KINDS[kind].lasts
    return {
      kind,
      overtakes,
      pause: overtakes ? random.below(3_000) : 1_000 + random.below(4_000),
      duration: min + random.below(max - min + 1),
      victim: random.below(1_000),
    }
  })
}

function shuffle<T>(values: readonly T[], random: Random): T[] {
  const rest = [...values]
  return values.map(() => rest.splice(random.below(rest.length), 1)[0]!)
}

/** For example `SIGSTOP of Kafka, SIGCONT after 34.1 s`. */
export function describeFault({ kind, duration }: Fault): string {
  return duration === 0 ? KINDS[kind].title : `${KINDS[kind].title} after ${seconds(duration)}`
}

export const seconds = (milliseconds: number) => `${(milliseconds / 1_000).toFixed(1)} s`
