import { status } from '@grpc/grpc-js'
import { Client, Connection, isGrpcServiceError } from '@temporalio/client'
import { loadClientConnectConfig, type ClientConnectConfig } from '@temporalio/envconfig'
import { causes, firstLine, UserError } from '../errors'
import { clientTracing } from '../telemetry/tracing'
import { explainTlsFailure, type TlsRemedies } from '../tls/failures'
import { speaksTls, tlsFailure } from '../tls/probe'
import { dataConverter } from './message-bounds'

export type TemporalConfig = ClientConnectConfig & { namespace: string }

/**
 * Address, namespace, TLS and API key from Temporal's own environment configuration (variables and profiles). Empty
 * variables count as unset, because an empty API key would turn TLS on.
 *
 * @throws UserError if a file that the configuration names is unusable
 */
export function temporalConfig(): TemporalConfig {
  const overrideEnvVars = Object.fromEntries(
    Object.entries(process.env).filter(([, value]) => value),
  ) as Record<string, string>
  try {
    const config = loadClientConnectConfig({ overrideEnvVars })
    return { ...config, namespace: config.namespace ?? 'default' }
  } catch (error) {
    // The following lines can quote the file, and with it secrets.
    throw new UserError(`Temporal's environment configuration (TEMPORAL_*) is invalid: ${firstLine(error)}.`)
  }
}

/**
 * Runs `use` with a connected client.
 *
 * @throws UserError if the server is unreachable or refuses this client, or the namespace does not exist
 */
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
      if (isGrpcServiceError(error) && error.code === status.NOT_FOUND)
        throw new UserError(noNamespace(namespace))
      throw refusal(error, config) ?? error
    })
    const interceptors = { workflow: clientTracing() }
    return await use(new Client({ connection, namespace, dataConverter, interceptors }))
  } finally {
    await connection.close()
  }
}

/** Why Temporal is unreachable or refuses this client, with the setting to change. */
export async function unreachable(error: unknown, config: TemporalConfig): Promise<UserError> {
  const { address = 'localhost:7233', tls } = config.connectionOptions
  const refused = refusal(error, config)
  if (refused) return refused
  const explained = tls ? await explainTls(address, tls) : await explainPlain(address)
  return new UserError(
    explained ??
      `No Temporal server answers at ${address} (${firstLine(error)}): start one with "web-traffic cluster up", or set ` +
        'TEMPORAL_ADDRESS.',
  )
}

export function noNamespace(namespace: string): string {
  return `The Temporal server has no namespace "${namespace}": create it, or set TEMPORAL_NAMESPACE.`
}

const REFUSALS: number[] = [status.PERMISSION_DENIED, status.UNAUTHENTICATED]

export function refusal(
  error: unknown,
  { connectionOptions, namespace }: TemporalConfig,
): UserError | undefined {
  const failure = causes(error).find(isGrpcServiceError)
  if (!failure || !REFUSALS.includes(failure.code)) return undefined
  return new UserError(
    `Temporal at ${connectionOptions.address} does not accept this API key for the namespace "${namespace}": set ` +
      'TEMPORAL_API_KEY.',
  )
}

async function explainPlain(address: string): Promise<string | undefined> {
  if (!(await speaksTls(address))) return undefined
  return `No Temporal server answers at ${address} without TLS: set TEMPORAL_TLS=true.`
}

const TLS_REMEDIES: TlsRemedies = {
  untrusted: 'set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the file of the authority that signed it',
  otherName: 'set TEMPORAL_TLS_SERVER_NAME to the name it is for',
  clientCertificate: 'set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH',
  noTls: 'set TEMPORAL_TLS=false, or another TEMPORAL_ADDRESS',
}

/** Repeats the handshake, because gRPC reports a failed one only as a timeout. */
async function explainTls(
  address: string,
  tls: NonNullable<TemporalConfig['connectionOptions']['tls']>,
): Promise<string | undefined> {
  const { serverRootCACertificate, clientCertPair, serverNameOverride } = typeof tls === 'object' ? tls : {}
  const failure = await tlsFailure(address, {
    ALPNProtocols: ['h2'],
    ...(serverRootCACertificate && { ca: Buffer.from(serverRootCACertificate) }),
    ...(clientCertPair && { cert: Buffer.from(clientCertPair.crt), key: Buffer.from(clientCertPair.key) }),
    ...(serverNameOverride && { servername: serverNameOverride }),
  })
  return failure && explainTlsFailure(`Temporal at ${address}`, failure, TLS_REMEDIES)
}
