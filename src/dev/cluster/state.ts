import { randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { UserError } from '../../errors'
import { isAlive, type ProcessIdentity } from './process-identity'

export type ComponentName = 'postgres' | 'kafka' | 'temporal'

export const COMPONENT_NAMES: readonly ComponentName[] = ['postgres', 'kafka', 'temporal']

export interface ComponentRecord {
  /** `external`: named by the environment, and neither started nor stopped by the cluster. */
  kind: 'managed' | 'external'
  /** host:port */
  address: string
  /** Kept after a stop, because the next start prefers them. */
  ports: Record<string, number>
  /** Environment variables for its clients. */
  variables: Record<string, string>
  program?: string
  log?: string
  /** Absent after a stop. */
  process?: ProcessIdentity
}

export interface ClusterState {
  version: 1
  components: Partial<Record<ComponentName, ComponentRecord>>
}

export function stateFile(dir: string): string {
  return join(resolve(dir), 'state.json')
}

/** Undefined if no cluster was ever started in the folder. */
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
    // The error below covers this too.
  }
  throw new UserError(
    `${stateFile(dir)} is not a state file of this version. Stop the servers there, then remove the file.`,
  )
}

/** Replaces the state file atomically. Only its owner may read it, because it can contain a password. */
export function writeState(dir: string, state: ClusterState): void {
  mkdirSync(dir, { recursive: true })
  const draft = `${stateFile(dir)}.${randomUUID()}`
  writeFileSync(draft, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 })
  renameSync(draft, stateFile(dir))
}

/** Whether the component is external or its process runs. */
export function isUp(record: ComponentRecord | undefined): record is ComponentRecord {
  return record !== undefined && (record.kind === 'external' || isAlive(record.process))
}
