import type { Config } from '../../config'
import { settle, type Finding } from './finding'
import { checkGeo } from './geo'
import { checkKafka } from './kafka'
import { checkLog } from './log'
import { checkPostgres } from './postgres'
import { checkTemporal } from './temporal'

/** Runs every check, whatever the others find. */
export async function runDoctor(config: Config): Promise<Finding[]> {
  const findings = await Promise.all([
    settle('Kafka', checkKafka(config)),
    settle('log', checkLog(config)),
    settle('Postgres', checkPostgres(config)),
    settle('Temporal', checkTemporal(config)),
    settle('countries', checkGeo(config)),
  ])
  return findings.flat()
}
