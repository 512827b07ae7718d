import { readFileSync } from 'node:fs'
import { processTree } from '../../src/dev/cluster/process-tree'

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

/** Memory resident now, MB. */
function resident(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readProc(pid, 'status') ?? '')?.[1]
  return Number(kilobytes ?? 0) / 1_000
}

/** Notes four times a second how much memory the largest of some processes has resident, until it is asked for. */
export class MemoryWatch {
  private readonly samples: number[] = []
  private readonly timer: NodeJS.Timeout

  constructor(pids: number[]) {
    this.timer = setInterval(() => this.samples.push(Math.max(...pids.map(resident))), 250)
    this.timer.unref()
  }

  /** The average of the second quarter of the time, and of the last: of equal size where memory is flat. MB. */
  end(): { early: number; late: number } {
    clearInterval(this.timer)
    const quarter = this.samples.length / 4
    const average = (from: number, to: number) => {
      const part = this.samples.slice(Math.floor(from * quarter), Math.ceil(to * quarter))
      return Math.round(part.reduce((sum, sample) => sum + sample, 0) / part.length)
    }
    return { early: average(1, 2), late: average(3, 4) }
  }
}

/** Undefined where the process has ended. */
function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return undefined
  }
}
