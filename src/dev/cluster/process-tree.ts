import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** A process and everything it started that still runs, parents first: Postgres has a process a session. */
export async function processTree(root: number): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid='])
  const pairs = stdout
    .trim()
    .split('\n')
    .map(line => line.trim().split(/\s+/).map(Number))
  const tree = [root]
  for (const parent of tree) for (const [pid, ppid] of pairs) if (ppid === parent) tree.push(pid!)
  return tree
}
