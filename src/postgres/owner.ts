import type { Db } from './database'

/** Who writes to a schema: one pipeline, known by its Kafka group and topic and its Temporal namespace. */
export interface Owner {
  group: string
  topic: string
  namespace: string
}

export class WrongOwnerError extends Error {
  override name = 'WrongOwnerError'
}

/** Records the owner where there is none yet, and refuses any other: its counts would be mixed with these. */
export async function claimSchema(db: Db, owner: Owner): Promise<void> {
  await db
    .insertInto('pipeline_owner')
    .values({ kafka_group: owner.group, topic: owner.topic, namespace: owner.namespace })
    .onConflict(conflict => conflict.doNothing())
    .execute()
  await checkOwner(db, owner)
}

export async function isClaimed(db: Db): Promise<boolean> {
  return (await db.selectFrom('pipeline_owner').select('kafka_group').executeTakeFirst()) !== undefined
}

/** Whether anything that was counted is recorded here. */
export async function hasCounted(db: Db): Promise<boolean> {
  const recorded = await Promise.all([
    db.selectFrom('window_results').select('window_start').limit(1).executeTakeFirst(),
    db.selectFrom('late_deltas').select('window_start').limit(1).executeTakeFirst(),
    db.selectFrom('rejected_counts').select('reason').limit(1).executeTakeFirst(),
  ])
  return recorded.some(row => row !== undefined)
}

export async function checkOwner(db: Db, { group, topic, namespace }: Owner): Promise<void> {
  const found = await db.selectFrom('pipeline_owner').selectAll().executeTakeFirst()
  if (found?.kafka_group === group && found.topic === topic && found.namespace === namespace) return
  throw new WrongOwnerError(
    found
      ? `This schema belongs to the pipeline "${found.kafka_group}" on topic "${found.topic}" (namespace ` +
          `"${found.namespace}"), not to "${group}" on "${topic}" (namespace "${namespace}"). Give each pipeline ` +
          'a database of its own (POSTGRES_DB).'
      : 'This schema belongs to no pipeline yet: "web-traffic start" records its owner.',
  )
}
