import { Client, Connection, isGrpcServiceError } from '@temporalio/client'
import { loadClientConnectConfig, type ClientConnectConfig } from '@temporalio/envconfig'
import { isNativeError } from 'node:util/types'
import { causes, UserError } from '../errors'
import { dataConverter } from './message-bounds'
import { speaksTls, tlsFailure } from '../tls/probe'
import { tlsTrouble } from '../tls/trouble'
import { clientTracing } from '../telemetry/tracing'

export type TemporalConfig = ClientConnectConfig & { namespace: string }

/**
 * Address, namespace, TLS and API key by Temporal's own environment configuration (variables and profiles). An empty
 * variable is none: an empty API key would turn TLS on.
 *
 * @throws UserError where a file that it names cannot be used
 */
export function temporalConfig(): TemporalConfig {
  const overrideEnvVars = Object.fromEntries(
    Object.entries(process.env).filter(([, value]) => value),
  ) as Record<string, string>
  try {
    const config = loadClientConnectConfig({ overrideEnvVars })
    return { ...config, namespace: config.namespace ?? 'default' }
  } catch (error) {
    // Of a file that is not there or not right; the first line holds nothing of what is in it.
    const reason =
      error instanceof Error || isNativeError(error) ? error.message.split('\n')[0] : String(error)
    throw new UserError(`Temporal's environment configuration (TEMPORAL_*) is not usable: ${reason}.`)
  }
}

/** Runs `use` with a connected client; what keeps the server from answering is said in one line. */
export async function withTemporal<T>(use: (client: Client) => Promise<T>): Promise<T> {
  const config = temporalConfig()
  const { connectionOptions, namespace } = config
  const connection = await Connection.connect({ connectTimeout: '5s', ...connectionOptions }).catch(
    async (error: unknown) => {
      throw await unreachable(error, config)
    },
  )
  try {
    await connection.workflowService.describeNamespace({ namespace }).catch((error: unknown) => {
      if (isGrpcServiceError(error) && Number(error.code) === NOT_FOUND)
        throw new UserError(noNamespace(namespace))
      const refused = refusal(error, config)
      throw refused === undefined ? error : new UserError(refused)
    })
    return await use(
      new Client({ connection, namespace, dataConverter, interceptors: { workflow: clientTracing() } }),
    )
  } finally {
    await connection.close()
  }
}

/** gRPC status code (grpc.io, "Status codes"). */
const NOT_FOUND = 5

function noNamespace(namespace: string): string {
  return `The Temporal server has no namespace "${namespace}": create it, or set TEMPORAL_NAMESPACE.`
}

/** Why Temporal cannot be reached, or does not let this client in, in one line that names the setting to mend. */
export async function unreachable(error: unknown, config: TemporalConfig): Promise<UserError> {
  const { connectionOptions } = config
  const address = connectionOptions.address ?? 'localhost:7233'
  const refused = refusal(error, config)
  if (refused !== undefined) return new UserError(refused)
  const trouble = await encryptionTrouble(address, connectionOptions.tls)
  if (trouble !== undefined) return new UserError(trouble)
  const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
  return new UserError(
    `No Temporal server answers at ${address} (${reason}): start one with "web-traffic cluster up", or set ` +
      'TEMPORAL_ADDRESS.',
  )
}

/** gRPC status codes of a server that does not know the client, or does not let it do this. */
const REFUSALS = new Set([7 /* PERMISSION_DENIED */, 16 /* UNAUTHENTICATED */])

function refusal(error: unknown, { connectionOptions, namespace }: TemporalConfig): string | undefined {
  const failure = causes(error).find(isGrpcServiceError)
  if (!failure || !REFUSALS.has(Number(failure.code))) return undefined
  return (
    `Temporal at ${connectionOptions.address} lets nobody in to the namespace "${namespace}" with this API key: set ` +
    'TEMPORAL_API_KEY.'
  )
}

/** gRPC tells of a handshake only that it did not come about in time, so that one is tried without it. */
async function encryptionTrouble(
  address: string,
  tls: TemporalConfig['connectionOptions']['tls'],
): Promise<string | undefined> {
  if (!tls) {
    if (!(await speaksTls(address))) return undefined
    return `No Temporal server answers at ${address} without TLS: set TEMPORAL_TLS=true.`
  }
  const { serverRootCACertificate, clientCertPair, serverNameOverride } = tls === true ? {} : tls
  const failure = await tlsFailure(address, {
    ALPNProtocols: ['h2'],
    ...(serverRootCACertificate && { ca: Buffer.from(serverRootCACertificate) }),
    ...(clientCertPair && { cert: Buffer.from(clientCertPair.crt), key: Buffer.from(clientCertPair.key) }),
    ...(serverNameOverride && { servername: serverNameOverride }),
  })
  const trouble = failure && tlsTrouble(failure.message)
  switch (trouble?.kind) {
    case 'untrusted':
      return `Temporal at ${address} shows a certificate that nobody vouches for (${trouble.reason}): set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the file of who signed it.`
    case 'other name':
      return `Temporal at ${address} shows a certificate for another name (${trouble.reason}): set TEMPORAL_TLS_SERVER_NAME to the name it is for.`
    case 'client certificate':
      return `Temporal at ${address} refuses this client's certificate (${trouble.reason}): set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH.`
    case 'no TLS':
      return `Temporal at ${address} speaks no TLS there: set TEMPORAL_TLS=false, or another TEMPORAL_ADDRESS.`
    case undefined:
      return undefined
  }
}
