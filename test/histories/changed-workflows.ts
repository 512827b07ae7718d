import { sleep } from '@temporalio/workflow'
import * as workflows from '../../src/workflows'

/** The product's workflows with an additional step, as after a careless change. */
const delayed =
  <Input, Result>(workflow: (input: Input) => Promise<Result>) =>
  async (input: Input): Promise<Result> => {
    await sleep(1)
    return workflow(input)
  }

export const exceptions = delayed(workflows.exceptions)
export const ingest = delayed(workflows.ingest)
export const piece = delayed(workflows.piece)
export const poller = delayed(workflows.poller)
export const window = delayed(workflows.window)
