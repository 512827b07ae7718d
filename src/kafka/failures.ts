import {
  KafkaJSConnectionError,
  KafkaJSError,
  KafkaJSProtocolError,
  KafkaJSSASLAuthenticationError,
} from 'kafkajs'
import { causes, UserError } from '../errors'
import { explainTlsFailure, type TlsRemedies } from '../tls/failures'
import { speaksTls } from '../tls/probe'
import type { KafkaConnection } from './connection'

const TLS_REMEDIES: TlsRemedies = {
  untrusted: 'set KAFKA_TLS_CA to the file of the authority that signed it',
  otherName: 'use the name it is for, both in KAFKA_URL and in advertised.listeners',
  clientCertificate: 'set KAFKA_TLS_CERT and KAFKA_TLS_KEY',
  noTls: 'unset KAFKA_TLS, or set KAFKA_URL to its TLS port',
}

/**
 * Why Kafka is unreachable or refuses this client, as one line that names the setting to change. A broker that hangs up
 * gives no reason, so this may open a connection to find out whether it uses TLS.
 *
 * @returns undefined if the error has another cause
 */
export async function kafkaFailure(error: unknown, connection: KafkaConnection): Promise<string | undefined> {
  const chain = causes(error)
  const refusal = chain.map(cause => explainRefusal(cause, connection)).find(reason => reason !== undefined)
  if (refusal !== undefined) return refusal
  const failure = connectionError(chain)
  if (!failure) return undefined
  const broker = failure.broker ?? connection.brokers.join(',')
  return (
    explainTlsFailure(`Kafka at ${broker}`, failure.message, TLS_REMEDIES) ??
    (await explainHangUp(failure.message, broker, connection)) ??
    noBroker(connection.brokers.join(','))
  )
}

export function noBroker(address: string): string {
  return `No Kafka broker answers at ${address}: start one with "web-traffic cluster up", or set KAFKA_URL.`
}

/**
 * The {@link UserError} for a failed send; errors that are not from Kafka are returned as they are.
 *
 * @param sent how many records were acknowledged before
 */
export function explainSendFailure(error: unknown, sent = 0): unknown {
  const chain = causes(error)
  if (chain.some(cause => cause instanceof UserError)) return error
  const connection = connectionError(chain)
  if (connection) {
    const broker = connection.broker ?? 'the given address'
    if (sent === 0) return new UserError(noBroker(broker))
    return new UserError(
      `Kafka at ${broker} stopped answering after ${sent} records were acknowledged. The topic may contain up to one ` +
        'more batch per partition.',
    )
  }
  const failure = chain.findLast(cause => cause instanceof KafkaJSError)
  if (!failure) return error
  return new UserError(`Kafka failed after ${sent} records were acknowledged: ${failure.message}`)
}

function connectionError(chain: Error[]): KafkaJSConnectionError | undefined {
  return chain.find(cause => cause instanceof KafkaJSConnectionError)
}

function explainRefusal(cause: Error, { brokers, sasl }: KafkaConnection): string | undefined {
  const server = `Kafka at ${brokers.join(',')}`
  const wrongLogin = `${server} rejects user "${sasl?.username}": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.`
  // kafkajs throws the same class if the broker disconnects during the login.
  if (cause instanceof KafkaJSSASLAuthenticationError && !/connection|timed? ?out/i.test(cause.message))
    return wrongLogin
  if (!(cause instanceof KafkaJSProtocolError)) return undefined
  switch (cause.type) {
    case 'SASL_AUTHENTICATION_FAILED':
      return wrongLogin
    case 'UNSUPPORTED_SASL_MECHANISM':
      return `${server} does not support ${sasl?.mechanism}: set another KAFKA_SASL_MECHANISM.`
    case 'ILLEGAL_SASL_STATE':
      return `${server} does not accept logins on this port: unset KAFKA_SASL_MECHANISM, or set KAFKA_URL to its SASL port.`
    case 'TOPIC_AUTHORIZATION_FAILED':
    case 'GROUP_AUTHORIZATION_FAILED':
    case 'CLUSTER_AUTHORIZATION_FAILED':
      return `${server} does not allow this for ${sasl ? `user "${sasl.username}"` : 'this client'} (${cause.message}): grant the permission.`
    default:
      return undefined
  }
}

async function explainHangUp(
  message: string,
  broker: string,
  { tls, sasl }: KafkaConnection,
): Promise<string | undefined> {
  if (!/^Closed connection|ECONNRESET|timeout/.test(message)) return undefined
  if (!tls && (await speaksTls(broker)))
    return `Kafka at ${broker} requires TLS: set KAFKA_TLS=true, or set KAFKA_URL to another port.`
  if (!sasl && message.startsWith('Closed connection'))
    return `Kafka at ${broker} hangs up and probably requires a login: set KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.`
  return undefined
}
