import { resolve } from 'node:path'
import { isAlive } from './process-identity'
import { COMPONENT_NAMES, readState, type ComponentName, type ComponentRecord } from './state'

export interface ComponentStatus {
  /** `dead`: it was started and not stopped, and its process is gone. */
  state: 'running' | 'stopped' | 'dead' | 'external'
  address?: string
  /** The address of the Web UI. */
  ui?: string
  pid?: number
  log?: string
  program?: string
}

export interface ClusterStatus {
  dir: string
  /** Every component runs or is external. */
  up: boolean
  components: Record<ComponentName, ComponentStatus>
}

export function clusterStatus(dir: string): ClusterStatus {
  const recorded = readState(dir)?.components ?? {}
  const components = Object.fromEntries(
    COMPONENT_NAMES.map(name => [name, describe(recorded[name])]),
  ) as ClusterStatus['components']
  const up = Object.values(components).every(({ state }) => state === 'running' || state === 'external')
  return { dir: resolve(dir), up, components }
}

function describe(record: ComponentRecord | undefined): ComponentStatus {
  if (record === undefined) return { state: 'stopped' }
  const { kind, address, process: server, log, program, variables } = record
  const ui = variables.TEMPORAL_UI_URL
  const place = { address, ...(ui !== undefined && { ui }) }
  if (kind === 'external') return { state: 'external', ...place }
  const known = { ...(log !== undefined && { log }), ...(program !== undefined && { program }) }
  if (server === undefined) return { state: 'stopped', ...known }
  return { state: isAlive(server) ? 'running' : 'dead', ...place, pid: server.pid, ...known }
}
