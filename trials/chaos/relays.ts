import { Relay } from '../relay'

/** Stand between some of the workers and two of the servers. Kafka's clients go where the broker sends them. */
export class Relays {
  private constructor(
    readonly postgres: Relay,
    readonly temporal: Relay,
  ) {}

  /** @param environment names the servers' addresses */
  static async open(environment: Record<string, string>): Promise<Relays> {
    const { POSTGRES_URL, TEMPORAL_ADDRESS } = environment
    const relays = new Relays(
      new Relay(new URL(POSTGRES_URL!)),
      new Relay(new URL(`tcp://${TEMPORAL_ADDRESS}`)),
    )
    await relays.postgres.open()
    await relays.temporal.open()
    return relays
  }

  /** What a worker needs to go through them. */
  get environment(): Record<string, string> {
    return { POSTGRES_URL: this.postgres.url, TEMPORAL_ADDRESS: this.temporal.address }
  }

  async close(): Promise<void> {
    await Promise.all([this.postgres.close(), this.temporal.close()])
  }
}
