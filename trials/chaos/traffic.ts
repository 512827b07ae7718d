import { setTimeout as sleep } from 'node:timers/promises'
import { kafkaClient } from '../../src/kafka/client'
import type { KafkaConnection } from '../../src/kafka/connection'
import { produce } from '../../src/sources/produce'
import { liveSource } from '../../src/dev/traffic/source'

/** Events a second. */
const RATE = 300
/** Milliseconds by which events are out of order: more than the watermark delay, so that some are late by a little. */
const DISORDER = 4_000

/** Live traffic with disorder, late and malformed events, which goes on when Kafka was away. */
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
      const people = {
        seed: this.seed * 1_000 + attempt,
        referrers: 200,
        disorder: DISORDER,
        late: 0.01,
        malformed: 0.01,
      }
      const { records } = liveSource(people, { rate: RATE })
      // What was not acknowledged may be in the log or not, which is read at the end: it alone says what was sent.
      await produce({ kafka, topic: this.topic, records, signal }).catch(() => sleep(200))
    }
  }

  /** Resolves when everything that was read from the source is acknowledged. */
  async end(): Promise<void> {
    this.ended.abort()
    await this.sending
  }
}
