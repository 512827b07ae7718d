import type { Config } from '../../config'
import { UserError } from '../../errors'
import { serverFailure } from '../server-failure'

export interface Finding {
  part: string
  /** `warning`: the pipeline runs, but will have trouble. */
  state: 'ok' | 'warning' | 'failed'
  /** A sentence, with the remedy for a warning or failure. */
  says: string
}

/** Collects the findings about one part, in order. */
export class Findings {
  readonly all: Finding[] = []

  constructor(private readonly part: string) {}

  readonly ok = (says: string) => this.add('ok', says)
  readonly warn = (says: string) => this.add('warning', says)
  readonly fail = (says: string) => this.add('failed', says)

  /** Adds `warning` if `isWrong`, and `fine` otherwise. */
  check(isWrong: boolean, warning: string, fine: string): void {
    if (isWrong) this.warn(warning)
    else this.ok(fine)
  }

  private add(state: Finding['state'], says: string): void {
    this.all.push({ part: this.part, state, says })
  }
}

export type Check = (findings: Findings) => Promise<void>

/** Runs the check of a part. A failure that a person can fix ends it and becomes its last finding. */
export async function runCheck(part: string, config: Config, check: Check): Promise<Finding[]> {
  const findings = new Findings(part)
  try {
    await check(findings)
  } catch (error) {
    const says = error instanceof UserError ? error.message : await serverFailure(error, config)
    if (says === undefined) throw error
    findings.fail(says)
  }
  return findings.all
}
