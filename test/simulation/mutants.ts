/** Parts of the mechanism that can be removed, to show that the simulation notices. */
export const MUTANTS = [
  'no deduplication',
  'no epoch check',
  'no range check',
  'no announced range',
  'done reported before the signals',
  "the watermark's basis lost at a claim",
  "the future judged by the reader's clock",
  "an idle claim by the poller's clock",
  'an idle claim ahead of the ledger',
  'no revision guard',
  'a delta merged before openWindow has answered',
  'an incomplete window is written',
  'no answer awaited',
  'no checkpoint',
  'removed records are passed over',
  'a range is sent again that has changed',
] as const

export type Mutant = (typeof MUTANTS)[number]
