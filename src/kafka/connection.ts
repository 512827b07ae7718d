/** How Kafka is reached: whatever opens a connection to it is given this. */
export interface KafkaConnection {
  /** HOST:PORT of each. */
  brokers: string[]
}

/** `HOST:PORT,HOST:PORT`, with or without a scheme before each. */
export function parseBrokers(text: string): string[] {
  return text.split(',').map(broker => broker.trim().replace(/^\w+:\/\//, ''))
}
