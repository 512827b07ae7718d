import { randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { UserError } from '../../errors'
import { isAlive, type ProcessIdentity } from './process-identity'

export type ComponentName = 'postgres' | 'kafka' | 'temporal'

export const COMPONENT_NAMES: readonly ComponentName[] = ['postgres', 'kafka', 'temporal']

/** What is known of one component. */
export interface ComponentRecord {
  /** `external`: named by the environment, neither started nor stopped by us. */
  kind: 'managed' | 'external'
  /** host:port */
  address: string
  /** Kept while stopped: the next start prefers them. */
  ports: Record<string, number>
  /** What a client of it needs in its environment. */
  variables: Record<string, string>
  program?: string
  log?: string
  /** Absent while it is stopped on purpose. */
  process?: ProcessIdentity
}

export interface ClusterState {
  version: 1
  components: Partial<Record<ComponentName, ComponentRecord>>
}

export function stateFile(dir: string): string {
  return join(resolve(dir), 'state.json')
}

/** The state recorded in a folder; undefined when no cluster was ever started there. */
export function readState(dir: string): ClusterState | undefined {
  let text
  try {
    text = readFileSync(stateFile(dir), 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
  try {
    const state = JSON.parse(text) as ClusterState
    if (state.version === 1) return state
  } catch {
    // Falls through to the error below.
  }
  throw new UserError(
    `${stateFile(dir)} is not a state file of this version: end what runs there, then remove it`,
  )
}

/** Replaces the state file in one step; readable by its owner alone, as it may hold a password. */
export function writeState(dir: string, state: ClusterState): void {
  mkdirSync(dir, { recursive: true })
  const draft = `${stateFile(dir)}.${randomUUID()}`
  writeFileSync(draft, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 })
  renameSync(draft, stateFile(dir))
}

/** Whether the component can be used: it is external, or its recorded process lives. */
export function isUp(record: ComponentRecord | undefined): record is ComponentRecord {
  return record !== undefined && (record.kind === 'external' || isAlive(record.process))
}
