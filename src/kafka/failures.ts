import { KafkaJSConnectionError, KafkaJSProtocolError, KafkaJSSASLAuthenticationError } from 'kafkajs'
import { causes } from '../errors'
import { speaksTls } from '../tls/probe'
import { tlsTrouble } from '../tls/trouble'
import type { KafkaConnection } from './connection'

/**
 * Why Kafka cannot be reached, or does not let this client in: one line that names the setting to mend. A broker that
 * hangs up does not say why, so that one is asked whether it speaks TLS.
 *
 * @returns undefined where the failure is another one
 */
export async function kafkaFailure(error: unknown, connection: KafkaConnection): Promise<string | undefined> {
  const chain = causes(error)
  const refusal = chain.map(cause => refused(cause, connection)).find(reason => reason !== undefined)
  if (refusal !== undefined) return refusal
  const failure = chain.find(
    (cause): cause is KafkaJSConnectionError => cause instanceof KafkaJSConnectionError,
  )
  if (!failure) return undefined
  const broker = failure.broker ?? connection.brokers.join(',')
  return (
    unencrypted(failure.message, broker) ??
    (await hungUp(failure.message, broker, connection)) ??
    noBroker(connection)
  )
}

export function noBroker({ brokers }: KafkaConnection): string {
  return `No Kafka broker answers at ${brokers.join(',')}: start one with "web-traffic cluster up", or set KAFKA_URL.`
}

/** The broker has answered, and refuses. */
function refused(cause: Error, { brokers, sasl }: KafkaConnection): string | undefined {
  const where = `Kafka at ${brokers.join(',')}`
  // kafkajs says the same of a broker that was gone in the middle of it.
  if (cause instanceof KafkaJSSASLAuthenticationError && !/connection|timed? ?out/i.test(cause.message))
    return refusedUser()
  if (!(cause instanceof KafkaJSProtocolError)) return undefined
  switch (cause.type) {
    case 'SASL_AUTHENTICATION_FAILED':
      return refusedUser()
    case 'UNSUPPORTED_SASL_MECHANISM':
      return `${where} takes no login by ${sasl?.mechanism}: set another KAFKA_SASL_MECHANISM.`
    case 'ILLEGAL_SASL_STATE':
      return `${where} takes no login there: unset KAFKA_SASL_MECHANISM, or name its SASL port in KAFKA_URL.`
    case 'TOPIC_AUTHORIZATION_FAILED':
    case 'GROUP_AUTHORIZATION_FAILED':
    case 'CLUSTER_AUTHORIZATION_FAILED':
      return `${where} does not let ${sasl ? `user "${sasl.username}"` : 'this client'} do this (${cause.message}): grant it.`
    default:
      return undefined
  }

  function refusedUser(): string {
    return `${where} refuses user "${sasl?.username}": set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.`
  }
}

function unencrypted(message: string, broker: string): string | undefined {
  const trouble = tlsTrouble(message)
  switch (trouble?.kind) {
    case 'untrusted':
      return `Kafka at ${broker} shows a certificate that nobody vouches for (${trouble.reason}): set KAFKA_TLS_CA to the file of who signed it.`
    case 'other name':
      return `Kafka at ${broker} shows a certificate for another name (${trouble.reason}): use the name it is for, in KAFKA_URL and as the broker advertises itself.`
    case 'client certificate':
      return `Kafka at ${broker} refuses this client's certificate (${trouble.reason}): set KAFKA_TLS_CERT and KAFKA_TLS_KEY.`
    case 'no TLS':
      return `Kafka at ${broker} speaks no TLS there: unset KAFKA_TLS, or name its TLS port in KAFKA_URL.`
    case undefined:
      return undefined
  }
}

async function hungUp(
  message: string,
  broker: string,
  { tls, sasl }: KafkaConnection,
): Promise<string | undefined> {
  if (!/^Closed connection|ECONNRESET|timeout/.test(message)) return undefined
  if (!tls && (await speaksTls(broker)))
    return `Kafka at ${broker} speaks TLS only: set KAFKA_TLS=true, or name another port in KAFKA_URL.`
  if (!sasl && message.startsWith('Closed connection'))
    return `Kafka at ${broker} hangs up, as one does that wants a login: set KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.`
  return undefined
}
