import { existsSync } from 'node:fs'
import { lchown, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../errors'
import { findOnPath, run, type Command } from './command'
import type { ClusterContext } from './component'

const OVERFLOW_ID = '65534'

/** How to run what refuses to run as root. */
export interface PlainUser {
  run(command: Command): Command
  /** Gives it a folder that it may write. */
  own(folder: string): Promise<void>
}

/**
 * Without root: as we are. As root: in a user namespace where we look like nobody, which keeps our right to
 * read this folder wherever it lies; else as the user postgres or nobody. `folder` is where it will write.
 */
export async function findPlainUser(surroundings: ClusterContext, folder: string): Promise<PlainUser> {
  if (process.getuid?.() !== 0) return { run: command => command, own: makeFolder }
  const owner = existsSync(folder) ? (await stat(folder)).uid : 0
  const namespace = owner === 0 ? await findNamespace(surroundings) : undefined
  return namespace ?? (await findOtherUser(surroundings, owner, folder))
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
}

async function findNamespace({ environment, signal }: ClusterContext): Promise<PlainUser | undefined> {
  const unshare = findOnPath('unshare', environment)
  if (unshare === undefined) return undefined
  const prefix = ['--user', `--map-user=${OVERFLOW_ID}`, `--map-group=${OVERFLOW_ID}`, '--']
  // It becomes the program by exec: the process that is started is the program's own.
  const within = (command: Command): Command => ({
    ...command,
    file: unshare,
    args: [...prefix, command.file, ...command.args],
  })
  const { ok, output } = await run(within({ file: 'id', args: ['-u'], environment }), 10_000, signal)
  return ok && output === OVERFLOW_ID ? { run: within, own: makeFolder } : undefined
}

async function findOtherUser(
  { environment, signal }: ClusterContext,
  owner: number,
  folder: string,
): Promise<PlainUser> {
  const existed = existsSync(folder)
  const names = owner === 0 ? ['postgres', 'nobody'] : [String(owner)]
  for (const name of names) {
    const id = async (option: string) => {
      const { ok, output } = await run({ file: 'id', args: [option, name], environment }, 10_000, signal)
      return ok ? Number(output) : undefined
    }
    const uid = (await id('-u')) ?? (owner === 0 ? undefined : owner)
    const gid = (await id('-g')) ?? uid
    if (uid === undefined || gid === undefined) continue
    const as = (command: Command): Command => ({ ...command, uid, gid })
    const own = async (target: string) => {
      await makeFolder(target)
      await changeOwner(target, uid, gid)
    }
    await own(folder)
    const tried = await run(as({ file: 'test', args: ['-w', folder], environment }), 10_000, signal)
    if (tried.ok) return { run: as, own }
    if (!existed) await rm(folder, { recursive: true })
  }
  throw new UserError(
    `PostgreSQL refuses to run as root, and neither a user namespace nor the user postgres or nobody can use ` +
      `${folder}: run as another user, or choose a --dir that every user can enter`,
  )
}

async function changeOwner(path: string, uid: number, gid: number): Promise<void> {
  await lchown(path, uid, gid)
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name)
    if (entry.isDirectory()) await changeOwner(child, uid, gid)
    else await lchown(child, uid, gid)
  }
}
