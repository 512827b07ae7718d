import { setTimeout as sleep } from 'node:timers/promises'
import { liveSource } from '../../src/dev/traffic/source'
import { kafkaClient } from '../../src/kafka/client'
import type { KafkaConnection } from '../../src/kafka/connection'
import { produce } from '../../src/sources/produce'

/** Events per second. */
const RATE = 300
/** Milliseconds by which events are out of order: more than the watermark delay, so that some are just late. */
const DISORDER = 4_000

/** Live traffic with disorder, late and malformed events. It continues after an outage of Kafka. */
export class Traffic {
  private readonly ended = new AbortController()
  private readonly sending: Promise<void>

  constructor(
    private readonly connection: KafkaConnection,
    private readonly topic: string,
    private readonly seed: number,
  ) {
    this.sending = this.send()
  }

  private async send(): Promise<void> {
    const { signal } = this.ended
    const kafka = kafkaClient(this.connection, 'web-traffic-chaos')
    for (let attempt = 0; !signal.aborted; attempt++) {
      const seed = this.seed * 1_000 + attempt
      const options = { seed, referrers: 200, disorder: DISORDER, late: 0.01, malformed: 0.01 }
      const { records } = liveSource(options, { rate: RATE })
      // Unacknowledged records may be in the topic or not. The verdict counts what the topic has, not what was sent.
      await produce({ kafka, topic: this.topic, records, signal }).catch(() => sleep(200))
    }
  }

  /** Resolves when every record is acknowledged. */
  async end(): Promise<void> {
    this.ended.abort()
    await this.sending
  }
}
