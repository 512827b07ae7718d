import { tsToMs } from '@temporalio/common/lib/time'
import { formatDuration } from '../core/duration'
import { heartbeatOf, type PendingActivity } from './heartbeat'

/** Clocks that a time service keeps differ by much less, and a request takes less, ms. */
const MAX_DIFFERENCE = 5_000
/** The server ends an attempt whose last heartbeat is older, ms. */
const MAX_BEAT_AGE = 7_000

/** A heartbeat of a poller. Times are epoch ms. */
export interface Beat {
  worker: string
  /** By the worker's clock. */
  sent: number
  /** By Temporal's clock. */
  received: number
  /** When the heartbeat was requested from Temporal, by this machine's clock. */
  asked: number
}

/** Undefined if there is none yet, or it comes from an older release. */
export function beatOf(activity: PendingActivity, asked: number): Beat | undefined {
  const { lastHeartbeatTime, lastStartedTime, lastWorkerIdentity } = activity
  const { clock } = heartbeatOf<{ clock: string }>(activity)
  if (!clock || !lastHeartbeatTime || !lastStartedTime) return undefined
  const received = tsToMs(lastHeartbeatTime)
  // Until an attempt's first heartbeat, the server shows the details of the attempt before.
  if (received <= tsToMs(lastStartedTime)) return undefined
  return { worker: lastWorkerIdentity ?? '', sent: Date.parse(clock), received, asked }
}

/**
 * What is wrong with a clock, and what to do; undefined if nothing.
 *
 * @param ahead how far it is ahead of the other, ms; negative if it is behind
 */
export function clockProblem(whose: string, ahead: number, other: string): string | undefined {
  const difference = Math.abs(ahead)
  if (difference <= MAX_DIFFERENCE) return undefined
  const unit = difference < 120_000 ? 1_000 : 60_000
  const rounded = formatDuration(Math.round(difference / unit) * unit)
  return `The clock of ${whose} is ${rounded} ${ahead > 0 ? 'ahead of' : 'behind'} ${other}: synchronise both with a time service (NTP).`
}

/**
 * What is wrong with the clocks of workers and of this machine, compared with Temporal's. Temporal's API does not tell its
 * time, but it stamps heartbeats. The brokers' clocks are left out: Kafka's protocol does not tell them either, and the
 * timestamp of a record may be its producer's.
 */
export function clockProblems(beats: Beat[]): string[] {
  const problems = beats.map(({ worker, sent, received }) =>
    clockProblem(`worker ${worker}`, sent - received, "Temporal's"),
  )
  const [beat] = beats
  if (beat) {
    const age = beat.asked - beat.received
    const ahead = age < 0 ? age : Math.max(0, age - MAX_BEAT_AGE)
    problems.push(clockProblem('this machine', ahead, "Temporal's"))
  }
  return problems.filter(problem => problem !== undefined)
}
