import type { KafkaConfig, SASLOptions } from 'kafkajs'
import { UserError } from '../errors'
import { readTlsFiles, type TlsFiles } from '../tls/files'
import { registerCodecs } from './codecs'

export interface KafkaConnection {
  brokers: string[]
  /** Undefined for a connection without TLS. */
  tls?: TlsFiles
  sasl?: KafkaLogin
}

export const SASL_MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512'] as const

export interface KafkaLogin {
  mechanism: (typeof SASL_MECHANISMS)[number]
  username: string
  /** Secret. */
  password: string
}

export interface KafkaVariables {
  KAFKA_URL: string
  KAFKA_TLS: boolean
  KAFKA_TLS_CA?: string | undefined
  KAFKA_TLS_CERT?: string | undefined
  KAFKA_TLS_KEY?: string | undefined
  KAFKA_SASL_MECHANISM?: KafkaLogin['mechanism'] | undefined
  KAFKA_SASL_USERNAME?: string | undefined
  KAFKA_SASL_PASSWORD?: string | undefined
}

/** @throws UserError if a variable needs another one, or names an unusable file */
export function kafkaConnection(variables: KafkaVariables): KafkaConnection {
  const setting = (name: 'KAFKA_TLS_CA' | 'KAFKA_TLS_CERT' | 'KAFKA_TLS_KEY') => ({
    setting: name,
    file: variables[name],
  })
  const files = {
    ca: setting('KAFKA_TLS_CA'),
    cert: setting('KAFKA_TLS_CERT'),
    key: setting('KAFKA_TLS_KEY'),
  }
  const unused = Object.values(files).find(({ file }) => file !== undefined)
  if (unused && !variables.KAFKA_TLS) throw new UserError(`${unused.setting} requires KAFKA_TLS=true.`)
  return {
    brokers: parseBrokers(variables.KAFKA_URL),
    ...(variables.KAFKA_TLS && { tls: readTlsFiles(files) }),
    ...login(variables),
  }
}

function login({
  KAFKA_SASL_MECHANISM: mechanism,
  KAFKA_SASL_USERNAME: username,
  KAFKA_SASL_PASSWORD: password,
}: KafkaVariables): { sasl?: KafkaLogin } {
  if (mechanism === undefined && username === undefined && password === undefined) return {}
  if (mechanism !== undefined && username !== undefined && password !== undefined)
    return { sasl: { mechanism, username, password } }
  throw new UserError(
    'A login to Kafka needs all of KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.',
  )
}

/** Parses `HOST:PORT,HOST:PORT`; each may have a scheme. */
export function parseBrokers(text: string): string[] {
  return text.split(',').map(broker => broker.trim().replace(/^\w+:\/\//, ''))
}

/**
 * The connection options of kafkajs; a new object each time, because kafkajs modifies it. Every client needs them, so
 * every client can read all of Kafka's codecs.
 */
export function kafkajsConnection({
  brokers,
  tls,
  sasl,
}: KafkaConnection): Pick<KafkaConfig, 'brokers' | 'ssl' | 'sasl'> {
  registerCodecs()
  return {
    brokers,
    ...(tls && { ssl: { ...tls } }),
    ...(sasl && { sasl: { ...sasl } as SASLOptions }),
  }
}
