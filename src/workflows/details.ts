import { setCurrentDetails, type WorkflowInterceptorsFactory } from '@temporalio/workflow'

let describe: (() => string) | undefined

/**
 * Sets the Markdown that the Web UI shows for this workflow. It is built only for a query, so signals and updates do
 * not pay for it. `description` must not change any state.
 */
export function describeWhenAsked(description: () => string): void {
  describe = description
}

/** The query with which the Web UI and the CLI read the details. */
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
