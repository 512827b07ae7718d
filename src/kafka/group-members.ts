import {
  AssignerProtocol,
  KafkaJSProtocolError,
  PartitionAssigners,
  type Admin,
  type MemberDescription,
  type PartitionAssigner,
} from 'kafkajs'
import { causes } from '../errors'
import { retryEvery100ms } from './client'

const { MemberMetadata, MemberAssignment } = AssignerProtocol

/** How a poller tells the group which pipeline it belongs to. */
export interface PipelineName {
  /** Id of the ledger's first run, which no other pipeline has. */
  ledger: string
  namespace: string
}

/** A member of a consumer group. While the group rebalances, Kafka does not tell topics, partitions and pipeline. */
export interface GroupMember {
  clientId: string
  host: string
  topics: string[]
  /** Partitions by topic. */
  assigned: Record<string, number[]>
  pipeline?: PipelineName
}

export const pollerClientId = (poller: number) => `web-traffic-poller-${poller}`
const POLLER_CLIENT_ID = /^web-traffic-poller-\d+$/
/** How many members a message names. */
const MAX_NAMED = 3

/**
 * Assigns partitions as kafkajs does by default, and names the member's pipeline to those who describe the group.
 *
 * @param pipeline called whenever the member joins
 */
export function namingAssigner(pipeline: () => PipelineName | undefined): PartitionAssigner {
  return config => {
    const assigner = PartitionAssigners.roundRobin(config)
    const { name, version } = assigner
    const userData = () => Buffer.from(JSON.stringify(pipeline() ?? null))
    return {
      ...assigner,
      protocol: ({ topics }) => ({
        name,
        metadata: MemberMetadata.encode({ version, topics, userData: userData() }),
      }),
    }
  }
}

/**
 * The members of a group that do not belong to a pipeline.
 *
 * @param ledger the pipeline's; undefined if it was never started
 */
export async function otherMembers(
  admin: Admin,
  group: string,
  ledger: string | undefined,
): Promise<GroupMember[]> {
  // A new broker has no coordinator yet.
  const { groups } = await retryEvery100ms(
    50,
    () => admin.describeGroups([group]),
    error => error instanceof KafkaJSProtocolError && error.retriable,
  )
  if (groups[0]?.state === 'Dead' && (await exists(admin, group))) return [HIDDEN]
  return groups.flatMap(({ members }) => members.map(toMember)).filter(member => isOther(member, ledger))
}

/**
 * Once a member uses the newer protocol of Kafka 4 (`group.protocol=consumer`), Kafka describes the group to older
 * clients as if it did not exist. It does not hide it in the list of groups.
 */
async function exists(admin: Admin, group: string): Promise<boolean> {
  const { groups } = await admin.listGroups()
  return groups.some(({ groupId }) => groupId === group)
}

/** Stands for the members of a group that Kafka does not describe. */
const HIDDEN: GroupMember = { clientId: 'group.protocol=consumer', host: '', topics: [], assigned: {} }

/** Pollers of an older release, and all pollers while the group rebalances, do not name their pipeline. */
function isOther({ clientId, pipeline }: GroupMember, ledger: string | undefined): boolean {
  return pipeline ? pipeline.ledger !== ledger : !POLLER_CLIENT_ID.test(clientId)
}

function toMember({
  clientId,
  clientHost,
  memberMetadata,
  memberAssignment,
}: MemberDescription): GroupMember {
  const member: GroupMember = { clientId, host: clientHost.replace(/^\//, ''), topics: [], assigned: {} }
  try {
    const { topics, userData } = MemberMetadata.decode(memberMetadata)!
    member.topics = topics
    member.assigned = MemberAssignment.decode(memberAssignment)?.assignment ?? {}
    const { ledger, namespace } = JSON.parse(String(userData)) as Partial<PipelineName>
    if (typeof ledger === 'string' && typeof namespace === 'string') member.pipeline = { ledger, namespace }
  } catch {
    // Metadata of another program, or none, because the group rebalances.
  }
  return member
}

/** One line that says who else uses a pipeline's group, and what to do. */
export function describeOtherMembers(group: string, topic: string, others: GroupMember[]): string {
  return (
    `The Kafka group "${group}" has members that are not pollers of this pipeline: ${listMembers(others, topic)}. ` +
    `What Kafka assigns to them is not counted, and every window waits for it. ${REMEDY}`
  )
}

/** Whether Kafka refuses a consumer because the group's members use another protocol. */
export function isRefusedByGroup(error: unknown): boolean {
  return causes(error).some(
    cause => cause instanceof KafkaJSProtocolError && cause.type === 'INCONSISTENT_GROUP_PROTOCOL',
  )
}

/** Why Kafka does not admit a poller to the group. */
export function describeRefusal(group: string, topic: string, others: GroupMember[]): string {
  const who = others.length > 0 ? `: ${listMembers(others, topic)}` : ''
  return `Kafka does not admit this poller to the group "${group}", whose members use another protocol${who}. ${REMEDY}`
}

const REMEDY =
  'Stop them or give them another group; or start this pipeline under another KAFKA_GROUP, with its own POSTGRES_DB.'

function listMembers(members: GroupMember[], topic: string): string {
  const more = members.length - MAX_NAMED
  return [
    ...members.slice(0, MAX_NAMED).map(member => describeMember(member, topic)),
    ...(more > 0 ? [`${more} more`] : []),
  ].join('; ')
}

function describeMember(member: GroupMember, topic: string): string {
  if (member === HIDDEN)
    return 'programs with group.protocol=consumer, which "kafka-consumer-groups.sh --describe --members" names'
  const { clientId, host, topics, assigned, pipeline } = member
  const client = `"${clientId}" at ${host}`
  const of = pipeline
    ? `, a poller of the pipeline of topic "${topics.join()}" in the Temporal namespace "${pipeline.namespace}"`
    : ''
  const partitions = assigned[topic] ?? []
  const which = `${partitions.length === 1 ? 'partition' : 'partitions'} ${partitions.join(', ')} of "${topic}"`
  return `${client}${of}${partitions.length > 0 ? `, with ${which}` : ''}`
}
