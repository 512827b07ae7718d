import { UserError } from '../../errors'

export interface Finding {
  part: string
  /** `warning`: it runs, and will not run well. */
  state: 'ok' | 'warning' | 'failed'
  /** A sentence; with the remedy where there is something to mend. */
  says: string
}

/** Gathers what was found of one part; the first thing that keeps the rest from being looked at is the last. */
export class Findings {
  readonly all: Finding[] = []

  constructor(private readonly part: string) {}

  ok(says: string): void {
    this.all.push({ part: this.part, state: 'ok', says })
  }

  warn(says: string): void {
    this.all.push({ part: this.part, state: 'warning', says })
  }

  fail(says: string): void {
    this.all.push({ part: this.part, state: 'failed', says })
  }

  /** A warning where `wrong`, and otherwise what is fine. */
  check(wrong: boolean, warning: string, fine: string): void {
    if (wrong) this.warn(warning)
    else this.ok(fine)
  }
}

export type Check = (findings: Findings) => Promise<void>

/** Runs the check of a part; what it fails with is a finding too. */
export async function settle(part: string, check: Check): Promise<Finding[]> {
  const findings = new Findings(part)
  try {
    await check(findings)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    findings.fail(error.message)
  }
  return findings.all
}
