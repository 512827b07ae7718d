import { Client, Connection, isGrpcServiceError } from '@temporalio/client'
import { loadClientConnectConfig, type ClientConnectConfig } from '@temporalio/envconfig'
import { UserError } from './cli/errors'

/**
 * Address, namespace, TLS and API key by Temporal's own environment configuration (variables and profiles). An empty
 * variable is none: an empty API key would turn TLS on.
 */
export function temporalConfig(): ClientConnectConfig & { namespace: string } {
  const overrideEnvVars = Object.fromEntries(
    Object.entries(process.env).filter(([, value]) => value),
  ) as Record<string, string>
  const config = loadClientConnectConfig({ overrideEnvVars })
  return { ...config, namespace: config.namespace ?? 'default' }
}

/** Runs `use` with a connected client; what keeps the server from answering is said in one line. */
export async function withTemporal<T>(use: (client: Client) => Promise<T>): Promise<T> {
  const { connectionOptions, namespace } = temporalConfig()
  const connection = await Connection.connect({ connectTimeout: '5s', ...connectionOptions }).catch(
    (error: unknown) => {
      throw unreachable(error)
    },
  )
  try {
    await connection.workflowService.describeNamespace({ namespace }).catch((error: unknown) => {
      throw isGrpcServiceError(error) && Number(error.code) === NOT_FOUND
        ? new UserError(noNamespace(namespace))
        : error
    })
    return await use(new Client({ connection, namespace }))
  } finally {
    await connection.close()
  }
}

/** gRPC status code (grpc.io, "Status codes"). */
const NOT_FOUND = 5

function noNamespace(namespace: string): string {
  return `The Temporal server has no namespace "${namespace}": create it, or set TEMPORAL_NAMESPACE.`
}

export function unreachable(error: unknown): UserError {
  const { connectionOptions } = temporalConfig()
  const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
  return new UserError(
    `No Temporal server answers at ${connectionOptions.address ?? 'localhost:7233'} (${reason}): start one with ` +
      '"web-traffic cluster up", or set TEMPORAL_ADDRESS.',
  )
}
