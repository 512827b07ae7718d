declare module 'kafkajs/src/consumer/batch' {
  import type { Batch } from 'kafkajs'

  const FetchedBatch: { prototype: Batch }
  export default FetchedBatch
}
