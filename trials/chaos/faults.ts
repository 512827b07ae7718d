import type { ComponentName } from '../../src/dev/cluster'
import { Random } from '../../src/dev/traffic/random'

interface Kind {
  title: string
  /** Least and most milliseconds from the strike until what was struck is let go on, or started again. */
  lasts: [least: number, most: number]
  strikes: 'a worker' | 'all workers' | ComponentName
}

/** Longer than a heartbeat of the poller (7 s), a session of the consumer group (7 s), and a rebalance (15 s). */
const PAST_SESSION: Kind['lasts'] = [12_000, 18_000]
/** Longer than every request, retry and connection of kafkajs, gRPC and pg waits before it fails. */
const PAST_TIMEOUTS: Kind['lasts'] = [32_000, 40_000]
const AT_ONCE: Kind['lasts'] = [0, 0]

export const KINDS = {
  killWorker: { title: 'SIGKILL of a worker', strikes: 'a worker', lasts: [0, 3_000] },
  killAllWorkers: { title: 'SIGKILL of all workers', strikes: 'all workers', lasts: AT_ONCE },
  killAllInFlush: { title: 'SIGKILL of all workers in a flush', strikes: 'all workers', lasts: AT_ONCE },
  stopWorker: { title: 'SIGTERM of a worker', strikes: 'a worker', lasts: [0, 3_000] },
  addWorker: {
    title: 'a worker and a poller added, then removed',
    strikes: 'a worker',
    lasts: [4_000, 8_000],
  },
  zombie: { title: 'SIGSTOP of a worker, SIGCONT', strikes: 'a worker', lasts: PAST_SESSION },
  zombieInFlush: {
    title: 'SIGSTOP of a worker in a flush, SIGCONT',
    strikes: 'a worker',
    lasts: PAST_SESSION,
  },
  cutConnections: { title: 'Postgres transactions cut', strikes: 'postgres', lasts: [10_000, 14_000] },
  killKafka: { title: 'SIGKILL of Kafka', strikes: 'kafka', lasts: AT_ONCE },
  killTemporal: { title: 'SIGKILL of Temporal', strikes: 'temporal', lasts: AT_ONCE },
  killPostgres: { title: 'SIGKILL of Postgres', strikes: 'postgres', lasts: AT_ONCE },
  kafkaAway: { title: 'SIGKILL of Kafka, away for long', strikes: 'kafka', lasts: PAST_TIMEOUTS },
  temporalAway: { title: 'SIGKILL of Temporal, away for long', strikes: 'temporal', lasts: PAST_TIMEOUTS },
  postgresAway: { title: 'SIGKILL of Postgres, away for long', strikes: 'postgres', lasts: PAST_TIMEOUTS },
  kafkaHangs: { title: 'SIGSTOP of Kafka, SIGCONT', strikes: 'kafka', lasts: PAST_TIMEOUTS },
  temporalHangs: { title: 'SIGSTOP of Temporal, SIGCONT', strikes: 'temporal', lasts: PAST_TIMEOUTS },
  postgresHangs: { title: 'SIGSTOP of Postgres, SIGCONT', strikes: 'postgres', lasts: PAST_TIMEOUTS },
} as const satisfies Record<string, Kind>

export type FaultKind = keyof typeof KINDS

export interface Fault {
  kind: FaultKind
  /** Milliseconds to wait before it strikes: after the last fault was over and every partition counted again. */
  pause: number
  /** Strikes so long after the last fault whether the pipeline has recovered or not. */
  overtakes: boolean
  /** Milliseconds from the strike to the end. */
  duration: number
  /** Which worker is struck: this one, modulo how many run. */
  victim: number
}

const LONG_OUTAGES: [FaultKind, FaultKind][] = [
  ['kafkaAway', 'postgresHangs'],
  ['postgresAway', 'temporalHangs'],
  ['temporalAway', 'kafkaHangs'],
]
const BRIEF: FaultKind[] = (Object.keys(KINDS) as FaultKind[]).filter(
  kind => !LONG_OUTAGES.flat().includes(kind),
)
/** What two short seeds, one even and one odd, meet between them. */
const SHORT: FaultKind[][] = [
  ['zombieInFlush', 'killKafka', 'killTemporal'],
  ['killAllInFlush', 'addWorker', 'killPostgres', 'cutConnections'],
]
const OVERTAKING = 0.2

/**
 * The faults of a seed, in order; a pure function. The long form has every brief kind and two long outages, and
 * three seeds in a row have all of those; the short form has half of the brief kinds.
 */
export function schedule(seed: number, short: boolean): Fault[] {
  const random = new Random(seed)
  const kinds = short ? SHORT[seed % 2]! : [...BRIEF, ...LONG_OUTAGES[seed % 3]!]
  return shuffle(kinds, random).map((kind, index) => {
    const overtakes = !short && index > 0 && random.fraction() < OVERTAKING
    const [least, most] = KINDS[kind].lasts
    return {
      kind,
      overtakes,
      pause: overtakes ? random.below(3_000) : 1_000 + random.below(4_000),
      duration: least + random.below(most - least + 1),
      victim: random.below(1_000),
    }
  })
}

function shuffle<T>(values: readonly T[], random: Random): T[] {
  const rest = [...values]
  return values.map(() => rest.splice(random.below(rest.length), 1)[0]!)
}

/** `SIGSTOP of Kafka, SIGCONT after 34.1 s`: for people. */
export function describeFault({ kind, duration }: Fault): string {
  return duration === 0 ? KINDS[kind].title : `${KINDS[kind].title} after ${seconds(duration)}`
}

export const seconds = (milliseconds: number) => `${(milliseconds / 1_000).toFixed(1)} s`
