import type { Activities } from '../../src/contract/activities'
import { windowStart } from '../../src/core/window/tumbling-window'
import { MINUTE, type sinkActivities } from '../workflows/support'

/** A window that ended long ago. */
export const W0 = windowStart(Date.UTC(2026, 0, 1, 12), 5 * MINUTE)

/** Activities that recount and repair results: two windows, one of them wrong. */
export const tableActivities: Omit<Activities, keyof ReturnType<typeof sinkActivities> | 'pollKafka'> = {
  selectWindows: ({ from = 0 }) => Promise.resolve(from <= W0 ? [W0, W0 + 5 * MINUTE] : []),
  replayWindows: ({ starts: [start = 0] }) =>
    Promise.resolve({
      unchanged: 1,
      replayed: [{ start, revision: 2, hits: 3, hitsBefore: 2, broughtIn: 0 }],
      gone: [],
    }),
  verifyWindows: () => Promise.resolve({ right: 2, wrong: [], gone: [] }),
  repairWindow: () =>
    Promise.resolve({
      ...{ outcome: 'repaired', revision: 1, hits: 40, hitsBefore: 0, exceptions: 0, exceptionsBefore: 0 },
      ...{ lost: { hits: 0, exceptions: 0 }, gone: [] },
    }),
  findMissing: () => Promise.resolve([]),
  findUnsettled: () => Promise.resolve([]),
  recoverWrites: () => Promise.resolve({ windows: 1, there: 1, ranges: 0, lateHits: 0, contradictory: [] }),
  maintainTables: () => Promise.resolve({ sealed: { hour: 1, day: 0, month: 0 }, months: [], lateHits: 0 }),
}
