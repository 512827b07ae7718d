import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** A process and its start time, which tells it apart from a later process with the same pid. */
export interface ProcessIdentity {
  pid: number
  started: string
}

interface Observed {
  started: string
  ended: boolean
}

/** Undefined if no process has that pid. */
export function identify(pid: number): ProcessIdentity | undefined {
  const observed = observe(pid)
  return observed && { pid, started: observed.started }
}

export function isAlive(identity: ProcessIdentity | undefined): boolean {
  if (identity === undefined) return false
  const observed = observe(identity.pid)
  return observed?.ended === false && observed.started === identity.started
}

export function sameProcess(a: ProcessIdentity | undefined, b: ProcessIdentity | undefined): boolean {
  return a !== undefined && a.pid === b?.pid && a.started === b.started
}

/** Signals exactly that process; does nothing if it has ended. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isAlive(identity)) return
  try {
    process.kill(identity.pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function observe(pid: number): Observed | undefined {
  try {
    return process.platform === 'linux' ? observeProc(pid) : observePs(pid)
  } catch {
    return undefined
  }
}

function observeProc(pid: number): Observed | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The command name may contain spaces and parentheses, so count the fields from the last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, threads, ticks] = [fields[0], fields[17], fields[19]]
  if (state === undefined || ticks === undefined) return undefined
  // Ports and file locks are released only when the last thread has ended.
  const ended = (state === 'Z' && Number(threads) <= 1) || state === 'X'
  return { started: `${bootId()}/${ticks}`, ended }
}

function observePs(pid: number): Observed | undefined {
  const line = execFileSync('ps', ['-p', String(pid), '-o', 'stat=', '-o', 'lstart='], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [, state, started] = /^\s*(\S+)\s+(.+?)\s*$/.exec(line) ?? []
  if (state === undefined || started === undefined) return undefined
  return { started, ended: state.startsWith('Z') }
}

let knownBootId: string | undefined

/** Start times are relative to the boot, so they are unique only together with its id. */
function bootId(): string {
  return (knownBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim())
}
