import { formatInstant } from '../core/window/tumbling-window'

/** Workflow ids. All ids of a pipeline start with its Kafka group. */
export const ingestId = (group: string) => `${group}/ingest`
export const pollerId = (group: string, n: number) => `${group}/poller/${n}`
export const windowId = (group: string, start: number) => `${group}/window/${formatInstant(start)}`
/** `chain` is the id of the first of the window's runs that continue one another. */
export const pieceId = (group: string, start: number, chain: string, number: number) =>
  `${windowId(group, start)}/piece/${chain}/${number}`

/** One id per selection of windows, so that two requests for the same one share a run. */
export const replayId = (group: string, selection: string) => `${group}/replay/${selection}`
export const recoverId = (group: string, since: number) => `${group}/recover/${formatInstant(since)}`
export const verifyId = (group: string, selection: string) => `${group}/verify/${selection}`

/** `run` is `now`, or the suffix that a schedule adds. */
export const maintainId = (group: string, run: string) => `${group}/maintain/${run}`

/** A separate task queue, so that a worker process takes only as many pollers as it has cores. */
export const pollerTaskQueue = (taskQueue: string) => `${taskQueue}/pollers`

export const repairCommand = (start: number) => `Run "web-traffic repair ${formatInstant(start)}".`
export const repairId = (group: string, start: number) => `${group}/repair/${formatInstant(start)}`
