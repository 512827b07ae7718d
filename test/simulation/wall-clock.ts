import { WINDOW } from './traffic'
import type { World } from './world'

const MINUTE = 60_000

/** How far a clock may be ahead, ms. One that is far behind only delays, which would take too many steps. */
const AHEAD = [0, -WINDOW, 5 * MINUTE, 180 * MINUTE]

/** The time of day of one machine: it may be wrong, and jumps. */
export class WallClock {
  private ahead: number

  constructor(private readonly world: World) {
    this.ahead = world.random.pick(AHEAD)
  }

  get now(): number {
    const { random, clock } = this.world
    if (random.chance(0.01)) this.ahead = random.pick(AHEAD)
    return clock + this.ahead
  }
}
