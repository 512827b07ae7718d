import { Client, Connection, isGrpcServiceError, ServiceError } from '@temporalio/client'
import { UserError } from '../cli/errors'
import { temporalConfig, unreachable } from '../temporal'

const ANSWER_WITHIN = 8_000

/** One connection to Temporal, opened when it is first needed and again after a failure. */
export class TemporalLink {
  private connection: Connection | undefined

  /** @throws UserError that says in one line why nothing answers */
  async use<T>(ask: (client: Client) => Promise<T>): Promise<T> {
    const { connectionOptions, namespace } = temporalConfig()
    try {
      this.connection ??= await Connection.connect({ connectTimeout: '5s', ...connectionOptions })
      const client = new Client({ connection: this.connection, namespace })
      return await client.withDeadline(Date.now() + ANSWER_WITHIN, () => ask(client))
    } catch (error) {
      if (error instanceof UserError) throw error
      await this.close()
      throw error instanceof ServiceError || isGrpcServiceError(error) ? unreachable(error) : error
    }
  }

  async close(): Promise<void> {
    const { connection } = this
    this.connection = undefined
    await connection?.close().catch(() => undefined)
  }
}
