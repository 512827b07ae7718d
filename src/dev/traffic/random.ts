import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** Seeded random numbers: a seed gives the same sequence on every machine. */
export class Random {
  private readonly generator

  constructor(seed: number) {
    this.generator = xoroshiro128plus(seed)
  }

  /** Uniform in [0, 1), in steps of 2⁻³². */
  fraction(): number {
    return (this.generator.next() >>> 0) / 2 ** 32
  }

  /** A uniform whole number in [0, bound); the bound is at most 2³². */
  below(bound: number): number {
    return Math.floor(this.fraction() * bound)
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!
  }
}

/** Zipf's law over ranks 0 … size − 1: the probability of rank r is proportional to 1 / (r + 1)^exponent. */
export class Zipf {
  private readonly cumulative: Float64Array

  constructor(size: number, exponent: number) {
    this.cumulative = new Float64Array(size)
    let sum = 0
    for (let rank = 0; rank < size; rank++) {
      sum += (rank + 1) ** -exponent
      this.cumulative[rank] = sum
    }
  }

  rank(random: Random): number {
    const { cumulative } = this
    const target = random.fraction() * cumulative[cumulative.length - 1]!
    let low = 0
    let high = cumulative.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (cumulative[middle]! > target) high = middle
      else low = middle + 1
    }
    return low
  }
}
