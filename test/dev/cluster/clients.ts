import { Client, Connection } from '@temporalio/client'
import { Kafka, logLevel, type Admin } from 'kafkajs'
import { Client as Postgres } from 'pg'

export type Environment = Record<string, string>

const variable = (environment: Environment, name: string): string => {
  const value = environment[name]
  if (value === undefined) throw new Error(`${name} is missing`)
  return value
}

/** Runs one statement on the cluster's database, and returns its rows. */
export async function sql(environment: Environment, statement: string): Promise<object[]> {
  const url = new URL(variable(environment, 'POSTGRES_URL'))
  url.username = variable(environment, 'POSTGRES_USER')
  url.password = variable(environment, 'POSTGRES_PASSWORD')
  const client = new Postgres({ connectionString: url.href })
  await client.connect()
  try {
    return (await client.query<object>(statement)).rows
  } finally {
    await client.end()
  }
}

export async function withKafka<T>(environment: Environment, use: (admin: Admin) => Promise<T>): Promise<T> {
  const brokers = [variable(environment, 'KAFKA_URL')]
  const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

export async function withTemporal<T>(
  environment: Environment,
  use: (client: Client) => Promise<T>,
): Promise<T> {
  const connection = await Connection.connect({ address: variable(environment, 'TEMPORAL_ADDRESS') })
  try {
    return await use(new Client({ connection, namespace: variable(environment, 'TEMPORAL_NAMESPACE') }))
  } finally {
    await connection.close()
  }
}
