import { existsSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { COMPONENTS } from './components'
import { lockCluster } from './lock'
import { isAlive, sameProcess, type ProcessIdentity } from './process-identity'
import { stopServer } from './server-process'
import {
  COMPONENT_NAMES,
  readState,
  stateFile,
  writeState,
  type ClusterState,
  type ComponentName,
} from './state'

export interface StopOptions {
  /** Receives progress, one line at a time. */
  report?: (line: string) => void
  /** Stop only these processes; by default all recorded ones. */
  only?: ProcessIdentity[]
  /** Remove the folder, unless something in it still runs. */
  remove?: boolean
}

/** Stops the cluster in a folder; its data stays. Does not touch external components. */
export async function stopCluster(dir: string, options: StopOptions = {}): Promise<void> {
  const { report = () => undefined, only, remove } = options
  if (!existsSync(stateFile(dir))) {
    report(`nothing is running in ${dir}`)
    return
  }
  const release = await lockCluster(dir, report)
  try {
    const state = readState(dir)
    const stopped = state ? await stopRecorded(state, report, only) : 0
    if (state) writeState(resolve(dir), state)
    if (stopped === 0) report(`nothing is running in ${dir}`)
    if (!state || !remove) return
    const alive = COMPONENT_NAMES.filter(name => isAlive(state.components[name]?.process))
    if (alive.length === 0) rmSync(dir, { recursive: true, force: true })
    else report(`${dir} stays: ${alive.map(name => COMPONENTS[name].title).join(', ')} still in use`)
  } finally {
    release()
  }
}

/** Updates the state; returns how many servers it stopped or found dead. */
async function stopRecorded(
  state: ClusterState,
  report: (line: string) => void,
  only: ProcessIdentity[] | undefined,
): Promise<number> {
  const stop = async (name: ComponentName): Promise<number> => {
    const record = state.components[name]
    if (record?.kind === 'external' && only === undefined) delete state.components[name]
    const server = record?.process
    if (record === undefined || server === undefined) return 0
    if (only !== undefined && !only.some(one => sameProcess(one, server))) return 0
    const wasAlive = isAlive(server)
    await stopServer(COMPONENTS[name], server)
    delete record.process
    const title = COMPONENTS[name].title
    report(wasAlive ? `${title}: stopped` : `${title}: was already dead (pid ${server.pid})`)
    return 1
  }
  const counts = await Promise.all(COMPONENT_NAMES.map(stop))
  return counts.reduce((sum, count) => sum + count, 0)
}
