import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../errors'
import { COMPONENTS } from './components'
import { stopCluster } from './down'
import { isAlive, sameProcess, type ProcessIdentity } from './process-identity'
import { logTail } from './server-process'
import { readState, type ComponentName } from './state'
import type { StartedCluster } from './up'

const POLL_MS = 500

export interface ForegroundOptions {
  dir: string
  report: (line: string) => void
  /** Ends the watch, as Ctrl-C does. */
  signal: AbortSignal
  /** Remove the folder after going down. */
  ephemeral: boolean
}

/**
 * Watches over what this command started, says when a part of it dies, and takes it down when the signal comes.
 * What another command took down or started again meanwhile is no longer ours.
 */
export async function holdCluster(
  started: StartedCluster['started'],
  { dir, report, signal, ephemeral }: ForegroundOptions,
): Promise<void> {
  const ours = new Map(Object.entries(started) as [ComponentName, ProcessIdentity][])
  const dead = new Set<ComponentName>()
  while (!signal.aborted && ours.size > dead.size) {
    for (const [name, server] of ours) {
      if (!sameProcess(readState(dir)?.components[name]?.process, server)) {
        ours.delete(name)
        dead.delete(name)
      } else if (!dead.has(name) && !isAlive(server)) {
        dead.add(name)
        report(describeDeath(name, server, dir))
      }
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined)
  }
  if (ours.size > 0 || ephemeral) {
    if (signal.aborted) report('going down')
    await stopCluster({ dir, report, only: [...ours.values()], remove: ephemeral })
  } else {
    report('another cluster command took it down or over')
  }
  if (!signal.aborted && dead.size > 0) throw new UserError('nothing of the cluster is left: start it again')
}

function describeDeath(name: ComponentName, server: ProcessIdentity, dir: string): string {
  const file = join(resolve(dir), 'logs', `${name}.log`)
  const tail = logTail({ file, from: 0 })
  return `${COMPONENTS[name].title} died (pid ${server.pid}): ${tail} (log: ${file}); \`cluster up\` starts it again`
}
