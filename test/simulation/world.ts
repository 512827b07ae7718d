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

/** What a run may come to by itself, without a fault at that very step. */
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
  'a window was told again to close',
  'a run was terminated',
  'a window lacked what it was told',
  'a window was repaired',
  'a window had nothing but exceptions',
  'a run found what another had published',
] as const
export type Situation = (typeof SITUATIONS)[number]

/** How often each fault met each step, and each situation came about. */
export type Coverage = Map<`${Fault} at ${Step}` | Situation, number>

/** A process of the simulation: runs to its next step, and is resumed by the scheduler. */
export type Process<T = void> = Generator<Step | 'wait', T, void>

const FAULT_FREE = { answered: true, effects: 1 } as const

/** What all parts of one seeded run share: chance, the clock, and the calls between them, which may go wrong. */
export class World {
  readonly random: Random
  /** Epoch milliseconds. */
  clock = 0
  faults = true
  /** Short, and any gap in the traffic is taken for silence; long, and several windows wait for it. Milliseconds. */
  readonly idleTimeout: number
  readonly allowedLateness: number
  /** Whether somebody terminates runs of windows by hand. */
  readonly terminates: boolean
  /** Small, and a window has to be put together from several pieces. */
  readonly maxPieceBytes: number
  /** Calls that were answered and arrive once more, later. */
  private readonly echoes: { at: number; effect: () => void }[] = []

  constructor(
    seed: number,
    private readonly coverage: Coverage,
    readonly mutant?: Mutant,
  ) {
    this.random = new Random(seed)
    this.idleTimeout = this.random.pick([3_000, 20_000, 50_000])
    this.allowedLateness = this.random.pick([0, 0, 20_000, 150_000])
    this.terminates = this.random.chance(0.4)
    this.maxPieceBytes = this.random.pick([1_000_000, 400, 150])
  }

  met(what: `${Fault} at ${Step}` | Situation): void {
    this.coverage.set(what, (this.coverage.get(what) ?? 0) + 1)
  }

  /** A call that is made until it is answered. Its effect may come to pass more than once, and long after. */
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

  /** Lets a call arrive once more whose time has come; false where there is none. */
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
