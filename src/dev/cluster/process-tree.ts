import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** The pids of a process and its running descendants, parents first. */
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
