import { existsSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { COMPONENTS } from './components'
import { acquireLock } from './lock'
import { isAlive, sameProcess, type ProcessIdentity } from './process-identity'
import { stopServer } from './server-process'
import { COMPONENT_NAMES, readState, stateFile, writeState, type ComponentName } from './state'

export interface StopOptions {
  dir: string
  report: (line: string) => void
  /** Stop only these very processes; by default all that are recorded. */
  only?: ProcessIdentity[]
  /** Remove the folder once nothing of it runs. */
  remove?: boolean
}

/** Takes the cluster in a folder down; its data stays. External components are left alone. */
export async function clusterDown(
  dir: string,
  report: (line: string) => void = () => undefined,
): Promise<void> {
  await stopCluster({ dir, report })
}

/** Takes a cluster down, in whole or in part. */
export async function stopCluster({ dir: given, report, only, remove }: StopOptions): Promise<void> {
  const dir = resolve(given)
  if (!existsSync(stateFile(dir))) {
    report(`nothing is running in ${given}`)
    return
  }
  const release = await acquireLock(join(dir, 'lock'), {
    busy: pid => `another cluster command (pid ${pid}) is at work on ${given}`,
    report,
  })
  try {
    await stopRecorded(dir, given, report, only)
    const state = readState(dir)
    if (state === undefined) return
    const alive = COMPONENT_NAMES.filter(name => isAlive(state.components[name]?.process))
    if (remove && alive.length === 0) rmSync(dir, { recursive: true, force: true })
    else if (remove)
      report(`${given} stays: ${alive.map(name => COMPONENTS[name].title).join(', ')} still in use`)
  } finally {
    release()
  }
}

async function stopRecorded(
  dir: string,
  given: string,
  report: (line: string) => void,
  only: ProcessIdentity[] | undefined,
): Promise<void> {
  const state = readState(dir)
  if (state === undefined) {
    report(`nothing is running in ${given}`)
    return
  }
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
    report(wasAlive ? `${title}: stopped` : `${title}: was dead already (pid ${server.pid})`)
    return 1
  }
  const stopped = await Promise.all(COMPONENT_NAMES.map(stop))
  writeState(dir, state)
  if (stopped.every(count => count === 0)) report(`nothing is running in ${given}`)
}
