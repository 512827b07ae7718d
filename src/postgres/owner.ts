import { sql } from 'kysely'
import type { Db } from './database'

/** The one pipeline that writes to a schema: its Kafka group and topic, and its Temporal namespace. */
export interface Owner {
  group: string
  topic: string
  namespace: string
}

export class WrongOwnerError extends Error {
  override name = 'WrongOwnerError'
}

/**
 * Records the owner if the schema has none.
 *
 * @throws WrongOwnerError if it belongs to another pipeline, whose counts would be mixed with these
 */
export async function claimSchema(db: Db, owner: Owner): Promise<void> {
  await sql`
    insert into pipeline_owner (kafka_group, topic, namespace)
    values (${owner.group}, ${owner.topic}, ${owner.namespace}) on conflict do nothing`.execute(db)
  await checkOwner(db, owner)
}

export async function isClaimed(db: Db): Promise<boolean> {
  return (await db.selectFrom('pipeline_owner').select('kafka_group').executeTakeFirst()) !== undefined
}

/** Whether any counted record is in this schema. */
export async function hasCounted(db: Db): Promise<boolean> {
  const { rows } = await sql<{ counted: boolean }>`
    select exists (select from window_results) or exists (select from late_deltas)
      or exists (select from rejected_counts) as counted`.execute(db)
  return rows[0]!.counted
}

export async function checkOwner(db: Db, { group, topic, namespace }: Owner): Promise<void> {
  const found = await db.selectFrom('pipeline_owner').selectAll().executeTakeFirst()
  if (found?.kafka_group === group && found.topic === topic && found.namespace === namespace) return
  throw new WrongOwnerError(
    found
      ? `This schema belongs to the pipeline "${found.kafka_group}" on topic "${found.topic}" (namespace ` +
          `"${found.namespace}"), not to "${group}" on "${topic}" (namespace "${namespace}"). Give each pipeline ` +
          'its own database (POSTGRES_DB).'
      : 'This schema has no owner yet: "web-traffic start" records it.',
  )
}
