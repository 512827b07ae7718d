import { proxyActivities, setWorkflowOptions } from '@temporalio/workflow'
import type { Activities, StagePieceInput } from '../contract/activities'
import { finishedByItsBuild } from './builds'
import { untilRecorded } from './recording'

const { stagePiece } = proxyActivities<Activities>({
  startToCloseTimeout: '2m',
  heartbeatTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '10s' },
})

/** A part of a large window's counts on its way to Postgres, where the window's result is put together. */
export async function piece(input: StagePieceInput): Promise<void> {
  await untilRecorded(`piece ${input.number}`, () => stagePiece(input))
}
setWorkflowOptions(finishedByItsBuild, piece)
