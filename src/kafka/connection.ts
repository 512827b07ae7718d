import type { KafkaConfig, SASLOptions } from 'kafkajs'
import { UserError } from '../errors'
import { readTlsFiles, type TlsFiles } from '../tls/files'

/** How Kafka is reached: whatever opens a connection to it is given this. */
export interface KafkaConnection {
  /** HOST:PORT of each. */
  brokers: string[]
  /** Undefined where the connection is not encrypted. */
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

/** The variables that say how Kafka is reached. */
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

/** @throws UserError where one of the variables lacks another, or names a file that is of no use */
export function kafkaConnection(variables: KafkaVariables): KafkaConnection {
  const brokers = parseBrokers(variables.KAFKA_URL)
  const sasl = login(variables)
  if (variables.KAFKA_TLS) return { brokers, tls: tlsFiles(variables), ...sasl }
  for (const name of ['KAFKA_TLS_CA', 'KAFKA_TLS_CERT', 'KAFKA_TLS_KEY'] as const)
    if (variables[name] !== undefined) throw new UserError(`${name} is for KAFKA_TLS=true, which is not set.`)
  return { brokers, ...sasl }
}

function tlsFiles(variables: KafkaVariables): TlsFiles {
  const named = (setting: keyof KafkaVariables & `KAFKA_TLS_${string}`) => ({
    setting,
    file: variables[setting],
  })
  return readTlsFiles({
    ca: named('KAFKA_TLS_CA'),
    cert: named('KAFKA_TLS_CERT'),
    key: named('KAFKA_TLS_KEY'),
  })
}

function login(variables: KafkaVariables): { sasl?: KafkaLogin } {
  const { KAFKA_SASL_MECHANISM: mechanism } = variables
  const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = variables
  if (mechanism === undefined && username === undefined && password === undefined) return {}
  if (mechanism !== undefined && username !== undefined && password !== undefined)
    return { sasl: { mechanism, username, password } }
  throw new UserError(
    'A login to Kafka needs all of KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.',
  )
}

/** `HOST:PORT,HOST:PORT`, with or without a scheme before each. */
export function parseBrokers(text: string): string[] {
  return text.split(',').map(broker => broker.trim().replace(/^\w+:\/\//, ''))
}

/** The same, as kafkajs wants it; new each time, since kafkajs keeps things of its own in it. */
export function kafkajsConnection({
  brokers,
  tls,
  sasl,
}: KafkaConnection): Pick<KafkaConfig, 'brokers' | 'ssl' | 'sasl'> {
  return {
    brokers,
    ...(tls && { ssl: { ...tls } }),
    ...(sasl && { sasl: { ...sasl } as SASLOptions }),
  }
}
