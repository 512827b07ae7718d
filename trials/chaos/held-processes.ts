import { spawn } from 'node:child_process'
import { once } from 'node:events'

/**
 * Stops processes with SIGSTOP; the function that is returned lets them go on with SIGCONT. A shell does it, which
 * also lets them go on when this process ends, however it ends: nobody else would.
 */
export async function holdProcesses(pids: number[]): Promise<() => Promise<void>> {
  const script = 'kill -STOP "$@"; echo held; read -r _; kill -CONT "$@"'
  const shell = spawn('/bin/sh', ['-c', script, 'hold', ...pids.map(String)], {
    stdio: ['pipe', 'pipe', 'ignore'],
    // Ctrl-C must not end the shell before it has let them go on.
    detached: true,
  })
  const exited = once(shell, 'exit')
  await once(shell.stdout, 'data')
  return async () => {
    shell.stdin.end()
    await exited
  }
}
