import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Client } from '@temporalio/client'
import type { Config } from '../../src/config'
import { program } from '../../src/dev/program'
import { UserError } from '../../src/errors'
import { findProblems } from '../../src/pipeline/health'
import { pipelineStatus } from '../../src/pipeline/status'

/** Milliseconds. `status` reports why a poller's last attempt failed until the new attempt has run for 30 s. */
const REPORTED_AFTER_KILL = 45_000

/** Asks the product's own checks, `status` and `verify`, whether the pipeline is right. */
export class ProductChecks {
  constructor(
    private readonly client: Client,
    private readonly config: Config,
    private readonly environment: NodeJS.ProcessEnv,
    private readonly signal: AbortSignal,
  ) {}

  /** @param struck when a worker was killed or restarted, epoch ms */
  async run(struck: number | undefined): Promise<ProductAnswers> {
    const [{ status, problems }, verify] = await Promise.all([this.status(), this.verify()])
    const isPast = (problem: string) =>
      struck !== undefined &&
      Date.now() - struck < REPORTED_AFTER_KILL &&
      /^Poller \d+ (fails \(attempt|waits for a worker)/.test(problem)
    return new ProductAnswers(
      status,
      problems.filter(problem => !isPast(problem)),
      verify,
    )
  }

  private async status(): Promise<{ status: unknown; problems: string[] }> {
    try {
      const status = await pipelineStatus(this.client, this.config)
      const problems = await findProblems(this.client, status)
      return { status: { ...status, problems }, problems }
    } catch (error) {
      if (error instanceof UserError) return { status: error.message, problems: [error.message] }
      throw error
    }
  }

  private async verify(): Promise<{ code: number; summary: string }> {
    const options = { env: this.environment, maxBuffer: 64 << 20, signal: this.signal }
    const command = promisify(execFile)(process.execPath, [program, 'verify', '--json'], options)
    const { code, stdout, stderr } = await command.then(
      output => ({ ...output, code: 0 }),
      (error: unknown) => {
        this.signal.throwIfAborted()
        return error as { code: number; stdout: string; stderr: string }
      },
    )
    return { code, summary: summaryIn(stdout) ?? stderr.trim() }
  }
}

function summaryIn(json: string): string | undefined {
  try {
    return (JSON.parse(json) as { summary: string }).summary
  } catch {
    return undefined
  }
}

class ProductAnswers {
  constructor(
    /** The output of `status --json`. */
    readonly status: unknown,
    private readonly statusProblems: string[],
    private readonly verify: { code: number; summary: string },
  ) {}

  /** A line for each answer that contradicts or explains the independent count, which decides. */
  disagreements(wrongCounts: string[]): string[] {
    const { statusProblems, verify } = this
    const exit = `it exits with ${verify.code}: ${verify.summary}`
    if (wrongCounts.length === 0)
      return [
        ...statusProblems.map(problem => `status is wrong, because every count is right: ${problem}`),
        ...(verify.code === 0 ? [] : [`verify is wrong, because every count is right: ${exit}`]),
      ]
    return [
      ...(statusProblems.length === 0
        ? ['status is wrong: it reports no problems, but the counts are wrong']
        : statusProblems.map(problem => `status reports: ${problem}`)),
      verify.code === 0
        ? `verify is wrong, because the counts are wrong: ${exit}`
        : `verify found it too: ${exit}`,
    ]
  }
}
