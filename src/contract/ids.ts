import { formatInstant } from '../core/window/tumbling-window'

/** Workflow ids: everything of one pipeline starts with its Kafka group. */
export const ingestId = (group: string) => `${group}/ingest`
export const pollerId = (group: string, n: number) => `${group}/poller/${n}`
export const windowId = (group: string, start: number) => `${group}/window/${formatInstant(start)}`
/** `chain` is the id of the first of the window's runs that continue one another. */
export const pieceId = (group: string, start: number, chain: string, number: number) =>
  `${windowId(group, start)}/piece/${chain}/${number}`

/** One for each selection of windows: the same one asked for twice at once is one run. */
export const replayId = (group: string, selection: string) => `${group}/replay/${selection}`
export const recoverId = (group: string, since: number) => `${group}/recover/${formatInstant(since)}`
export const verifyId = (group: string, selection: string) => `${group}/verify/${selection}`

/** `run` is `now`, or what the schedule of this name adds to it. */
export const maintainId = (group: string, run: string) => `${group}/maintain/${run}`

/** Pollers have a task queue of their own, so that a worker process takes no more of them than it has cores for. */
export const pollerTaskQueue = (taskQueue: string) => `${taskQueue}/pollers`

/** The command that counts a window again, for people. */
export const repairCommand = (start: number) => `Run "web-traffic repair ${formatInstant(start)}".`
export const repairId = (group: string, start: number) => `${group}/repair/${formatInstant(start)}`
