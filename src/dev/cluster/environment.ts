import { COMPONENT_NAMES, isUp, readState } from './state'

/**
 * The environment variables that clients of the cluster need: KAFKA_URL, POSTGRES_URL, POSTGRES_USER,
 * POSTGRES_PASSWORD, POSTGRES_DB, TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and TEMPORAL_UI_URL. Includes those of a server
 * that died. Undefined if the cluster was not started, was stopped, or has no server left.
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
