import { workflowInfo } from '@temporalio/workflow'
import type { WindowInput } from '../contract/activities'
import type { WindowRunInput } from '../contract/workflows'
import { formatWindow } from '../core/window/tumbling-window'
import { WindowState } from '../core/window/window-state'
import { WindowVisibility } from './window-visibility'

/** The state that the parts of a window's run share. */
export class WindowRun {
  /** Names the window in activity inputs. */
  readonly key: WindowInput
  readonly name: string
  /** The same for all runs that continue one another. */
  readonly chain = workflowInfo().firstExecutionRunId
  readonly counts: WindowState
  /** Revision of the result in Postgres; 0 before the first. */
  revision: number
  /** Whether hits were merged that the result lacks. */
  changed: boolean
  /** Hits that arrived after the window had closed. */
  lateHits = 0
  readonly visibility = new WindowVisibility(this)

  constructor({ settings, start, carried }: WindowRunInput) {
    this.key = { settings, start }
    this.name = formatWindow(start, settings.windowSize)
    this.counts = new WindowState(carried?.window)
    this.revision = carried?.revision ?? 0
    this.changed = carried?.changed ?? false
  }
}
