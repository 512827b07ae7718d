import type { KafkaMessage } from 'kafkajs'

/** The longest time between two records of a partition, by Kafka's timestamps, milliseconds. */
export class SilenceWatch {
  longest = 0
  private readonly last: (number | undefined)[] = []

  /** Takes the records of each partition in their order. */
  add(partition: number, { timestamp }: Pick<KafkaMessage, 'timestamp'>): void {
    const at = Number(timestamp)
    this.longest = Math.max(this.longest, at - (this.last[partition] ?? at))
    this.last[partition] = at
  }
}

export function longestSilence(log: KafkaMessage[][]): number {
  const watch = new SilenceWatch()
  log.forEach((messages, partition) => messages.forEach(message => watch.add(partition, message)))
  return watch.longest
}
