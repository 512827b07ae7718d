declare module 'kafkajs/src/consumer/batch' {
  const Batch: { prototype: import('kafkajs').Batch }
  export default Batch
}
