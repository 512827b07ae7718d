import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

export function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

/**
 * Asks a child to end, and resolves when it has; it is killed where it takes longer.
 *
 * @param within milliseconds
 */
export async function endProcess(
  child: ChildProcess,
  ask: (child: ChildProcess) => void,
  within = 45_000,
): Promise<void> {
  if (hasEnded(child)) return
  const exited = once(child, 'exit')
  ask(child)
  const timer = setTimeout(() => child.kill('SIGKILL'), within)
  await exited
  clearTimeout(timer)
}
