import { readFileSync } from 'node:fs'
import { processTree } from '../cluster/process-tree'

/** Ticks a second of the times in `/proc` (USER_HZ, proc(5)). */
const TICKS = 100

/** CPU seconds, user and system, that a process and all that it started have used so far; Linux only. */
export async function cpuSeconds(pid: number): Promise<number> {
  let ticks = 0
  for (const member of await processTree(pid)) {
    const stat = readProc(member, 'stat')
    // After the name in parentheses: utime, stime, and those of ended children, are fields 14 to 17 of proc(5).
    const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
    for (const field of fields.slice(11, 15)) ticks += Number(field)
  }
  return ticks / TICKS
}

/** The most memory that a process had resident at once, MB. */
export function peakResident(pid: number): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readProc(pid, 'status') ?? '')?.[1]
  return Math.round(Number(kilobytes ?? 0) / 1_000)
}

/** Undefined where the process has ended. */
function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return undefined
  }
}
