import { explainRefusal } from './window-report'
import { describeWhenAsked } from './details'
import { Retries, type Refusal } from './retries'

/** The one step of a workflow that carries something to Postgres: runs it until it succeeds, and says why it does not. */
export function untilRecorded<T>(what: string, run: () => Promise<T>): Promise<T> {
  let refusal: Refusal | undefined
  describeWhenAsked(() =>
    refusal
      ? `**Stuck**: ${what}. ${explainRefusal(refusal.reason, refusal.nextTry)}`
      : `On its way to Postgres: ${what}.`,
  )
  return new Retries().untilDone(`record ${what}`, run, latest => {
    refusal = latest
  })
}
