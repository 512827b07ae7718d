/**
 * Settings that are fixed for a pipeline's life. Durations are milliseconds.
 *
 * They travel in the ingest workflow's input, so all pollers apply the same rules regardless of their worker's
 * environment.
 */
export interface PipelineSettings {
  /** Kafka consumer group; also the prefix of every workflow id. */
  group: string
  topic: string
  windowSize: number
  watermarkDelay: number
  /** How long after its end (and the watermark delay) a published window accepts corrections; 0 for never. */
  allowedLateness: number
  idleTimeout: number
  maxFuture: number
  /** Groups that keep their name in a window; further ones are counted under `(other)`. */
  maxGroups: number
  flushInterval: number
  /** Group by the full referrer, or only by its origin. */
  referrer: 'full' | 'origin'
}
