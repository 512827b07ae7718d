import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

const ABANDONED_AFTER_MS = 3_600_000

/** A program could not be installed this way; there may be other ways. */
export class InstallError extends Error {
  override name = 'InstallError'
}

/** Builds a folder; returns the message of an InstallError if there was one. */
export async function install(
  target: string,
  build: (folder: string) => Promise<void>,
): Promise<string | undefined> {
  try {
    await buildFolder(target, build)
    return undefined
  } catch (error) {
    if (error instanceof InstallError) return error.message
    throw error
  }
}

/**
 * Builds a folder atomically: under another name beside it, then renamed. If another process was faster, its folder
 * stays.
 */
export async function buildFolder(target: string, build: (folder: string) => Promise<void>): Promise<void> {
  const parent = dirname(target)
  await mkdir(parent, { recursive: true })
  await removeAbandoned(parent)
  const draft = join(parent, `.${basename(target)}-${randomUUID()}`)
  await mkdir(draft)
  try {
    await build(draft)
    await rename(draft, target)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

async function removeAbandoned(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (!/^\..+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(name)) continue
    const folder = join(parent, name)
    const modified = await stat(folder).then(
      found => found.mtimeMs,
      () => Date.now(),
    )
    if (Date.now() - modified > ABANDONED_AFTER_MS) await rm(folder, { recursive: true, force: true })
  }
}
