import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

export function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

/**
 * Asks a child process to end; resolves when it has ended.
 *
 * @param timeoutMs after which the child is killed
 */
export async function endProcess(
  child: ChildProcess,
  ask: (child: ChildProcess) => void,
  timeoutMs = 45_000,
): Promise<void> {
  if (hasEnded(child)) return
  const exited = once(child, 'exit')
  ask(child)
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  await exited
  clearTimeout(timer)
}
