import { readFileSync } from 'node:fs'
import { processTree } from '../../src/dev/cluster/process-tree'

/** Ticks per second in `/proc` (USER_HZ, proc(5)). */
const TICKS = 100

/** CPU seconds, user and system, used so far by a process and its descendants. Linux only. */
export async function cpuSeconds(pid: number): Promise<number> {
  let ticks = 0
  for (const member of await processTree(pid)) {
    const stat = readProc(member, 'stat')
    // The times of the process and of its ended children are fields 14 to 17 in proc(5), counted after the name.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    for (const field of fields.slice(11, 15)) ticks += Number(field)
  }
  return ticks / TICKS
}

/** The highest resident memory of a process so far, MB. */
export const peakResident = (pid: number) => Math.round(memory(pid, 'VmHWM'))

function memory(pid: number, name: 'VmHWM' | 'VmRSS'): number {
  const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readProc(pid, 'status'))?.[1]
  return Number(kilobytes ?? 0) / 1_000
}

/** Samples four times a second the resident memory of the largest of some processes. */
export class MemoryWatch {
  private readonly samples: number[] = []
  private readonly timer: NodeJS.Timeout

  constructor(pids: number[]) {
    const sample = () => this.samples.push(Math.max(...pids.map(pid => memory(pid, 'VmRSS'))))
    this.timer = setInterval(sample, 250)
    this.timer.unref()
  }

  /** Averages of the second quarter of the time and of the last, MB. They are equal if memory is flat. */
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

/** Empty if the process has ended. */
function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}
