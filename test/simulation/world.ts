import type { Mutant } from './mutants'
import { Random } from './random'

export type Step =
  | 'claim'
  | 'read'
  | 'awaited'
  | 'flush'
  | 'signal'
  | 'exceptions'
  | 'openWindow'
  | 'stagePiece'
  | 'writeWindow'
  | 'recordClosed'
  | 'recordExceptions'
  | 'stageDelta'
  | 'settled'
  | 'windowSource'
  | 'repairWindow'
export type Fault = 'crash' | 'rebalance' | 'zombie' | 'failed' | 'timed out' | 'repeated'

/** Situations that a run may reach. */
export const SITUATIONS = [
  'a range was read again',
  'a zombie was refused',
  'a run started for a closed window',
  'a zombie signalled a closed window',
  'a repeat reached a closed window',
  'a late delta reached a closed window',
  'a delta came while its window was written',
  'a result was corrected',
  'a window was closed as it had been published',
  'a piece was sent ahead',
  'a window continued as new',
  'a delta was staged',
  'a run was started for its book',
  'a close signal was sent again',
  'a run was terminated',
  'a window had less than was announced',
  'a window was repaired',
  'a window had nothing but exceptions',
  'a run found what another had published',
  'records were lost before they were read',
  'an announced range had changed when it was read again',
  'the loss of a window was accepted',
  'an idle claim was ahead of the ledger',
] as const
export type Situation = (typeof SITUATIONS)[number]

/** How often each fault hit each step, and each situation occurred. */
export type Coverage = Map<`${Fault} at ${Step}` | Situation, number>

/** A simulated process, which the scheduler resumes step by step. */
export type Process<T = void> = Generator<Step | 'wait', T, void>

const FAULT_FREE = { answered: true, effects: 1 } as const

/** What all parts of one seeded run share: randomness, the clock, and the unreliable calls between them. */
export class World {
  readonly random: Random
  /** Epoch milliseconds. */
  clock = 0
  faults = true
  /** Milliseconds. If short, any gap in the traffic counts as silence; if long, several windows wait for it. */
  readonly idleTimeout: number
  readonly allowedLateness: number
  /** How likely a poller is one of an older release, during a deployment. */
  readonly oldPollers: number
  /** Whether runs of windows are terminated by hand. */
  readonly terminates: boolean
  /** Whether retention and compaction remove records at any time. */
  readonly loses: boolean
  /** Whether a window may lack counts although no run was terminated. */
  mayLack = false
  /** If small, a window consists of several pieces. */
  readonly maxPieceBytes: number
  /** Answered calls that arrive again later. */
  private readonly echoes: { at: number; effect: () => void }[] = []

  constructor(
    seed: number,
    private readonly coverage: Coverage,
    readonly mutant?: Mutant,
  ) {
    this.random = new Random(seed)
    this.idleTimeout = this.random.pick([3_000, 20_000, 50_000])
    this.allowedLateness = this.random.pick([0, 0, 20_000, 150_000])
    this.oldPollers = this.random.pick([0, 0, 0.5])
    this.terminates = this.random.chance(0.4)
    this.loses = this.random.chance(0.2)
    this.maxPieceBytes = this.random.pick([1_000_000, 400, 150])
  }

  met(what: `${Fault} at ${Step}` | Situation): void {
    this.coverage.set(what, (this.coverage.get(what) ?? 0) + 1)
  }

  /** Makes a call until it is answered. Its effect may happen more than once, and much later. */
  *call<T>(step: Step, effect: () => T): Process<T> {
    for (;;) {
      yield step
      const { answered, effects } = this.faults ? this.fate(step, effect) : FAULT_FREE
      const answer = effects > 0 ? effect() : undefined
      if (answered) return answer as T
    }
  }

  private fate(step: Step, effect: () => unknown): { answered: boolean; effects: number } {
    if (this.random.chance(0.03)) {
      this.met(`failed at ${step}`)
      return { answered: false, effects: 0 }
    }
    if (this.random.chance(0.03)) {
      this.met(`timed out at ${step}`)
      return { answered: false, effects: 1 }
    }
    if (this.random.chance(step === 'writeWindow' ? 0.2 : 0.03)) {
      this.met(`repeated at ${step}`)
      this.echoes.push({ at: this.clock + this.random.below(240_000), effect })
    }
    return FAULT_FREE
  }

  /** Repeats a call that is due; returns false if there is none. */
  echo(): boolean {
    const due = this.echoes.findIndex(({ at }) => at <= this.clock)
    if (due < 0) return false
    this.echoes.splice(due, 1)[0]!.effect()
    return true
  }

  get echoing(): boolean {
    return this.echoes.length > 0
  }
}
