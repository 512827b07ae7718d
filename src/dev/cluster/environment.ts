import { COMPONENT_NAMES, isUp, readState } from './state'

/**
 * What the other commands and tests need in their environment to use the cluster in `dir`:
 * KAFKA_URL, POSTGRES_URL, POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, TEMPORAL_ADDRESS,
 * TEMPORAL_NAMESPACE, TEMPORAL_UI_URL. Undefined unless it was started and not stopped, and something of it is up:
 * a server that died alone is named, so that whoever misses it can say where it was.
 */
export function clusterEnvironment(dir: string): Record<string, string> | undefined {
  const components = readState(dir)?.components
  if (components === undefined) return undefined
  const started = COMPONENT_NAMES.flatMap(name => {
    const record = components[name]
    return record && (record.kind === 'external' || record.process) ? [record] : []
  })
  if (started.length < COMPONENT_NAMES.length || !started.some(isUp)) return undefined
  return Object.assign({}, ...started.map(record => record.variables)) as Record<string, string>
}
