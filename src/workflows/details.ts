import { setCurrentDetails, type WorkflowInterceptorsFactory } from '@temporalio/workflow'

let describe: (() => string) | undefined

/**
 * What the Web UI shows of this workflow, as Markdown, put together only when somebody looks: signals and updates of
 * the hot path pay nothing for it. It must change nothing.
 */
export function describeWhenAsked(description: () => string): void {
  describe = description
}

/** The query by which the Web UI and the CLI read the details. */
const METADATA = '__temporal_workflow_metadata'

export const interceptors: WorkflowInterceptorsFactory = () => ({
  internals: [
    {
      activate(input, next) {
        const asked = input.activation.jobs?.some(job => job.queryWorkflow?.queryType === METADATA)
        if (asked && describe) setCurrentDetails(describe())
        next(input)
      },
    },
  ],
})
