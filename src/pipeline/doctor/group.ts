import type { Config } from '../../config'
import { UserError } from '../../errors'
import { withAdmin } from '../../kafka/client'
import { describeOtherMembers, otherMembers, type GroupMember } from '../../kafka/group-members'
import { withTemporal } from '../../temporal/connection'
import { PipelineClient } from '../pipeline-client'
import type { Check } from './finding'

/** Checks that no other program is a member of the pipeline's Kafka group. */
export function checkGroup(config: Config): Check {
  return async findings => {
    const others = await findOthers(config)
    if (!others) return
    const { group, topic } = config.settings
    if (others.length > 0) findings.fail(describeOtherMembers(group, topic, others))
    else findings.ok(`No other program is in the Kafka group "${group}".`)
  }
}

/** Undefined if Kafka or Temporal does not answer, which other checks report. */
async function findOthers(config: Config): Promise<GroupMember[] | undefined> {
  try {
    const id = await withTemporal(client => new PipelineClient(client, config).id())
    return await withAdmin(config.kafka, admin => otherMembers(admin, config.settings.group, id))
  } catch (error) {
    if (error instanceof UserError) return undefined
    throw error
  }
}
