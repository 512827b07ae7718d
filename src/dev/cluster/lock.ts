import { randomUUID } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../errors'
import { identify, isAlive, type ProcessIdentity } from './process-identity'

type Holder = ProcessIdentity & { token: string }

export type Release = () => void

/** Takes a lock file, or says who holds it. A lock whose holder is dead is taken over. */
export function tryLock(path: string): Release | ProcessIdentity {
  const self = identify(process.pid) ?? { pid: process.pid, started: '' }
  const mine: Holder = { ...self, token: randomUUID() }
  const draft = `${path}.${mine.token}`
  writeFileSync(draft, JSON.stringify(mine))
  try {
    for (;;) {
      if (createLink(draft, path)) return () => release(path, mine)
      const holder = readHolder(path)
      if (holder !== undefined && isAlive(holder)) return holder
      if (holder !== undefined) evict(path, holder, draft)
    }
  } finally {
    rmSync(draft, { force: true })
  }
}

/** Takes a lock file, waiting for a living holder; gives up after `patienceMs` with a UserError. */
export async function acquireLock(
  path: string,
  options: {
    busy: (pid: number) => string
    report: (line: string) => void
    signal?: AbortSignal | undefined
  },
  patienceMs = 300_000,
): Promise<Release> {
  const deadline = Date.now() + patienceMs
  let told = false
  for (;;) {
    options.signal?.throwIfAborted()
    // The holder may have removed the folder when it was done.
    mkdirSync(dirname(path), { recursive: true })
    const taken = tryLock(path)
    if (typeof taken === 'function') return taken
    if (Date.now() > deadline) throw new UserError(`${options.busy(taken.pid)}; end it or wait for it`)
    if (!told) options.report(`${options.busy(taken.pid)}; waiting for it`)
    told = true
    await sleep(100)
  }
}

// Linked rather than created: the file appears together with its content, so no reader sees it empty.
function createLink(draft: string, path: string): boolean {
  try {
    linkSync(draft, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function readHolder(path: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Holder
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    return { pid: 0, started: '', token: '' }
  }
}

// Renamed before it is removed: should another process have replaced it meanwhile, its lock is put back.
function evict(path: string, dead: Holder, draft: string): void {
  const aside = `${draft}.aside`
  try {
    renameSync(path, aside)
  } catch {
    return
  }
  const moved = readHolder(aside)
  if (moved !== undefined && moved.token !== dead.token) createLink(aside, path)
  rmSync(aside, { force: true })
}

function release(path: string, mine: Holder): void {
  if (readHolder(path)?.token === mine.token) rmSync(path, { force: true })
}
