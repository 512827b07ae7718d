import { COMPONENT_NAMES, isUp, readState } from './state'

/**
 * What the other commands and tests need in their environment to use the cluster in `dir`:
 * KAFKA_URL, POSTGRES_URL, POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, TEMPORAL_ADDRESS,
 * TEMPORAL_NAMESPACE, TEMPORAL_UI_URL. Undefined unless every component of it is up.
 */
export function clusterEnvironment(dir: string): Record<string, string> | undefined {
  const components = readState(dir)?.components
  if (components === undefined) return undefined
  const records = COMPONENT_NAMES.map(name => components[name])
  if (!records.every(isUp)) return undefined
  return Object.assign({}, ...records.map(record => record.variables)) as Record<string, string>
}
