import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../errors'
import { COMPONENTS } from './components'
import { stopCluster } from './down'
import { isAlive, sameProcess, type ProcessIdentity } from './process-identity'
import { logTail } from './server-process'
import { readState, type ComponentName } from './state'
import type { StartedCluster } from './up'

const POLL_INTERVAL_MS = 500

export interface ForegroundOptions {
  dir: string
  report: (line: string) => void
  /** Stops the cluster, as Ctrl-C does. */
  signal: AbortSignal
  /** Remove the folder afterwards. */
  ephemeral: boolean
}

/**
 * Watches the servers that this command started, reports when one dies, and stops them on the signal. Servers that
 * another command has stopped or restarted meanwhile are no longer watched.
 *
 * @throws UserError if all servers have died
 */
export async function watchCluster(
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
    await sleep(POLL_INTERVAL_MS, undefined, { signal }).catch(() => undefined)
  }
  if (ours.size > 0 || ephemeral) {
    if (signal.aborted) report('stopping')
    await stopCluster(dir, { report, only: [...ours.values()], remove: ephemeral })
  } else {
    report('another cluster command has stopped or restarted the servers')
  }
  if (!signal.aborted && dead.size > 0)
    throw new UserError('All servers of the cluster have died. Start it again.')
}

function describeDeath(name: ComponentName, server: ProcessIdentity, dir: string): string {
  const file = join(resolve(dir), 'logs', `${name}.log`)
  const tail = logTail({ file, from: 0 })
  return `${COMPONENTS[name].title} died (pid ${server.pid}): ${tail} (log: ${file}); \`cluster up\` restarts it`
}
