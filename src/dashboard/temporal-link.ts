import { Client, Connection, isGrpcServiceError, ServiceError } from '@temporalio/client'
import { UserError } from '../errors'
import { temporalConfig, unreachable } from '../temporal/connection'

const CONNECT_WITHIN = 4_000
const ANSWER_WITHIN = 10_000

/** One connection to Temporal, opened when it is first needed and again after a failure. */
export class TemporalLink {
  private connection: Connection | undefined

  /** @throws UserError that says in one line why nothing answers */
  async use<T>(ask: (client: Client) => Promise<T>): Promise<T> {
    const client = await this.client()
    try {
      return await client.withDeadline(Date.now() + ANSWER_WITHIN, () => ask(client))
    } catch (error) {
      if (error instanceof UserError) throw error
      await this.close()
      throw error instanceof ServiceError || isGrpcServiceError(error)
        ? await unreachable(error, temporalConfig())
        : error
    }
  }

  /** Of a server that answers: a query that is not answered then means that no worker does. */
  private async client(): Promise<Client> {
    const config = temporalConfig()
    const { connectionOptions, namespace } = config
    try {
      const connection = (this.connection ??= await Connection.connect({
        connectTimeout: CONNECT_WITHIN,
        ...connectionOptions,
      }))
      await connection.withDeadline(Date.now() + CONNECT_WITHIN, () =>
        connection.workflowService.describeNamespace({ namespace }),
      )
      return new Client({ connection, namespace })
    } catch (error) {
      await this.close()
      throw await unreachable(error, config)
    }
  }

  async close(): Promise<void> {
    const { connection } = this
    this.connection = undefined
    await connection?.close().catch(() => undefined)
  }
}
