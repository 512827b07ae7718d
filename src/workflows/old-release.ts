import { ParentClosePolicy, patched, setWorkflowOptions, startChild } from '@temporalio/workflow'
import type { StagePieceInput } from '../contract/activities'
import { pieceId } from '../contract/ids'
import { pipelineAttributes } from '../contract/search-attributes'
import type { PipelineSettings } from '../core/settings'
import type { RangeExceptions } from '../core/window/protocol'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { Retries, type Refusal } from './retries'
import { sink } from './sink'
import { explainRefusal } from './window-report'
import type { WindowRun } from './window-run'

/*
 * What only runs that an older release started still need. Those windows sent each piece to Postgres through a `piece`
 * workflow, and pollers sent late and rejected records through an `exceptions` workflow.
 */

/** The pieces of a window's run that began before windows staged their pieces themselves. */
export class OldPieces {
  private readonly pending = new Set<Promise<unknown>>()

  constructor(private readonly run: WindowRun) {}

  /** A run may continue as new only once the server has all of its pieces. */
  get areSent(): boolean {
    return this.pending.size === 0
  }

  /** Cuts a piece and sends it; returns false in any newer run. */
  send(): boolean {
    if (patched('pieces are staged by the window')) return false
    const { key, name, chain, counts } = this.run
    const { settings, start } = key
    const cut = counts.cutPiece()
    const sent = startChild<typeof piece>('piece', {
      workflowId: pieceId(settings.group, start, chain, cut.number),
      args: [{ ...key, chain, ...cut }],
      // The run may continue as new before Postgres has the piece.
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `piece ${cut.number} of ${name}`,
      typedSearchAttributes: pipelineAttributes(settings),
    })
    this.pending.add(sent)
    void sent.then(() => this.pending.delete(sent))
    return true
  }
}

/** Stages a part of a large window's counts in Postgres. */
export async function piece(input: StagePieceInput): Promise<void> {
  await untilRecorded(`piece ${input.number}`, () => sink.stagePiece(input))
}
setWorkflowOptions(finishedByItsBuild, piece)

/** Records the late and rejected records of one flush. */
export async function exceptions(input: {
  settings: PipelineSettings
  ranges: RangeExceptions[]
}): Promise<string> {
  const summary = `late and rejected records of ${input.ranges.length} ranges`
  const recorded = await untilRecorded(summary, () =>
    sink.recordExceptions.executeWithOptions({ summary }, [input]),
  )
  return `${recorded} of ${input.ranges.length} ranges recorded; Postgres already had the others.`
}
setWorkflowOptions(finishedByItsBuild, exceptions)

function untilRecorded<T>(what: string, run: () => Promise<T>): Promise<T> {
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
