import type { Config } from '../../config'
import { runCheck, type Finding } from './finding'
import { checkGeo } from './geo'
import { checkGroup } from './group'
import { checkKafka } from './kafka'
import { checkLog } from './log'
import { checkPostgres } from './postgres'
import { checkTemporal } from './temporal'

/** Runs every check, whatever the others find. */
export async function runDoctor(config: Config): Promise<Finding[]> {
  const findings = await Promise.all([
    runCheck('Kafka', checkKafka(config)),
    runCheck('group', checkGroup(config)),
    runCheck('log', checkLog(config)),
    runCheck('Postgres', checkPostgres(config)),
    runCheck('Temporal', checkTemporal(config)),
    runCheck('countries', checkGeo(config)),
  ])
  return findings.flat()
}
