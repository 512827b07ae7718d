import { existsSync } from 'node:fs'
import { lchown, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../errors'
import { findOnPath, run, type Command } from './command'
import type { ClusterContext } from './component'

const OVERFLOW_ID = '65534'

/** Runs programs that refuse to run as root. */
export interface PlainUser {
  run(command: Command): Command
  /** Makes a folder writable for it. */
  own(folder: string): Promise<void>
}

/**
 * Not root: the user of this process. Root: a user namespace in which this process appears as nobody, which keeps the
 * right to read this project wherever it is; otherwise the user postgres or nobody.
 *
 * @param folder must be writable for it
 * @throws UserError if there is no such user
 */
export async function findPlainUser(context: ClusterContext, folder: string): Promise<PlainUser> {
  if (process.getuid?.() !== 0) return { run: command => command, own: makeFolder }
  const owner = existsSync(folder) ? (await stat(folder)).uid : 0
  const namespace = owner === 0 ? await findNamespace(context) : undefined
  return namespace ?? (await findOtherUser(context, owner, folder))
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
}

async function findNamespace({ environment, signal }: ClusterContext): Promise<PlainUser | undefined> {
  const unshare = findOnPath('unshare', environment)
  if (unshare === undefined) return undefined
  const prefix = ['--user', `--map-user=${OVERFLOW_ID}`, `--map-group=${OVERFLOW_ID}`, '--']
  // unshare ends with exec, so the process started is the program itself.
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
      `${folder}. Run this as another user, or choose a --dir that every user can enter.`,
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
