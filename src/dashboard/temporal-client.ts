import { Client, Connection, isGrpcServiceError, ServiceError } from '@temporalio/client'
import { UserError } from '../errors'
import { temporalConfig, unreachable } from '../temporal/connection'

const CONNECT_TIMEOUT = 4_000
const CALL_TIMEOUT = 10_000

/** One connection to Temporal, opened on first use and reopened after a failure. */
export class ReconnectingClient {
  private connection: Connection | undefined

  /** @throws UserError if the server or its workers do not answer */
  async use<T>(run: (client: Client) => Promise<T>): Promise<T> {
    const client = await this.connect()
    try {
      return await client.withDeadline(Date.now() + CALL_TIMEOUT, () => run(client))
    } catch (error) {
      if (error instanceof UserError) throw error
      await this.close()
      throw error instanceof ServiceError || isGrpcServiceError(error)
        ? await unreachable(error, temporalConfig())
        : error
    }
  }

  /** Checks that the server answers, so that an unanswered query afterwards means that no worker runs. */
  private async connect(): Promise<Client> {
    const config = temporalConfig()
    const { connectionOptions, namespace } = config
    try {
      const connection = (this.connection ??= await Connection.connect({
        connectTimeout: CONNECT_TIMEOUT,
        ...connectionOptions,
      }))
      await connection.withDeadline(Date.now() + CONNECT_TIMEOUT, () =>
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
