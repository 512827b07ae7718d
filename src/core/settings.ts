/**
 * What is fixed for a pipeline's life. Durations and times are milliseconds.
 *
 * The settings travel in the ingest workflow's input, so that every poller judges by the same rule
 * whatever the environment of the worker it runs on.
 */
export interface PipelineSettings {
  /** Kafka consumer group; also the prefix of every workflow id. */
  group: string
  topic: string
  windowSize: number
  watermarkDelay: number
  /** How long after its end (and the watermark delay) a published window still takes corrections; 0 for never. */
  allowedLateness: number
  idleTimeout: number
  maxFuture: number
  /** Groups of a window that keep their name; what is beyond is counted under `(other)`. */
  maxGroups: number
  flushInterval: number
  /** Group by the whole referrer, or by its origin only. */
  referrer: 'full' | 'origin'
}
