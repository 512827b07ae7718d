import { randomUUID } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../errors'
import { identify, isAlive, type ProcessIdentity } from './process-identity'

const LOCK_TIMEOUT_MS = 300_000

type Holder = ProcessIdentity & { token: string }

export type Release = () => void

/** Takes a lock file, or returns its living holder. Takes over the lock of a dead holder. */
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

/**
 * Takes the lock of a cluster's folder, which all commands take that change the cluster.
 *
 * @throws UserError if another command holds it for five minutes
 */
export async function lockCluster(
  dir: string,
  report: (line: string) => void,
  signal?: AbortSignal,
): Promise<Release> {
  const deadline = Date.now() + LOCK_TIMEOUT_MS
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted()
    // The previous holder may have removed the folder.
    mkdirSync(dir, { recursive: true })
    const taken = tryLock(join(resolve(dir), 'lock'))
    if (typeof taken === 'function') return taken
    const busy = `Another cluster command (pid ${taken.pid}) is using ${dir}`
    if (Date.now() > deadline) throw new UserError(`${busy}. Stop it, or wait until it has finished.`)
    if (attempt === 0) report(`${busy}; waiting for it`)
    await sleep(100)
  }
}

/** A link makes the file appear together with its content, so that nobody reads it empty. */
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

/** Renames before it removes: if another process has replaced the lock meanwhile, its lock is put back. */
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
