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
    runCheck('Kafka', config, checkKafka(config)),
    runCheck('group', config, checkGroup(config)),
    runCheck('log', config, checkLog(config)),
    runCheck('Postgres', config, checkPostgres(config)),
    runCheck('Temporal', config, checkTemporal(config)),
    runCheck('countries', config, checkGeo(config)),
  ])
  return findings.flat()
}
