import { spawn } from 'node:child_process'
import { once } from 'node:events'

/**
 * Suspends processes with SIGSTOP; returns a function that resumes them with SIGCONT. A shell sends the signals, and it
 * resumes the processes too if this process dies.
 */
export async function suspendProcesses(pids: number[]): Promise<() => Promise<void>> {
  const script = 'kill -STOP "$@"; echo suspended; read -r _; kill -CONT "$@"'
  const shell = spawn('/bin/sh', ['-c', script, 'suspend', ...pids.map(String)], {
    stdio: ['pipe', 'pipe', 'ignore'],
    // Ctrl-C must not end the shell before it has resumed them.
    detached: true,
  })
  const exited = once(shell, 'exit')
  await once(shell.stdout, 'data')
  return async () => {
    shell.stdin.end()
    await exited
  }
}
