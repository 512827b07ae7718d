import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

interface Step {
  instruction: string
  /** Its text, with continued lines joined. */
  text: string
}

/** The result of the steps of a Dockerfile. */
export interface BuiltImage {
  /** The folder with its file system. */
  root: string
  workdir: string
  user: string
  entrypoint: string[]
  command: string[]
  environment: Record<string, string>
  /** Steps that were skipped because they would change the machine. */
  leftOut: string[]
}

/** The steps of a Dockerfile, in order. */
export function readDockerfile(file: string): Step[] {
  const text = readFileSync(file, 'utf8').replace(/\\\n/g, ' ')
  const lines = text.split('\n').filter(line => line.trim() !== '' && !line.startsWith('#'))
  return lines.map(line => {
    const [, instruction, rest] = /^([A-Z]+)\s+(.*)$/.exec(line)!
    return { instruction: instruction!, text: rest!.replace(/\s+/g, ' ').trim() }
  })
}

/**
 * Runs the steps of a Dockerfile on this machine, each stage in its own folder below `folder`. Supports only the
 * instructions that this project's Dockerfile has.
 */
export async function build(context: string, folder: string): Promise<BuiltImage> {
  const kept = keptByDockerignore(context)
  const stages = new Map<string, string>()
  let image: BuiltImage | undefined
  for (const { instruction, text } of readDockerfile(join(context, 'Dockerfile'))) {
    if (instruction === 'FROM') {
      const [, name = 'last'] = / AS (\S+)$/.exec(text) ?? []
      const root = join(folder, name)
      mkdirSync(root)
      stages.set(name, root)
      image = newImage(root)
    } else if (image) await carryOut(instruction, text, image, { context, kept, stages })
  }
  return image!
}

const newImage = (root: string): BuiltImage => ({
  root,
  workdir: '/',
  user: 'root',
  entrypoint: [],
  command: [],
  environment: {},
  leftOut: [],
})

interface BuildContext {
  context: string
  kept: Set<string>
  stages: Map<string, string>
}

async function carryOut(
  instruction: string,
  text: string,
  image: BuiltImage,
  surroundings: BuildContext,
): Promise<void> {
  switch (instruction) {
    case 'WORKDIR':
      image.workdir = text
      mkdirSync(join(image.root, text), { recursive: true })
      return
    case 'COPY':
      return copy(text.split(' '), image, surroundings)
    case 'RUN':
      if (text.startsWith('apt-get ')) return void image.leftOut.push(text)
      if (text === 'npm ci' && (await linkInstalled(surroundings.context, join(image.root, image.workdir))))
        return
      await run('sh', ['-c', text], {
        cwd: join(image.root, image.workdir),
        env: { PATH: process.env.PATH, HOME: process.env.HOME, ...OFFLINE, ...image.environment },
        maxBuffer: 1 << 24,
      })
      return
    case 'ENV':
      for (const pair of text.split(' ')) {
        const [name, value] = pair.split('=') as [string, string]
        image.environment[name] = value
      }
      return
    case 'USER':
      image.user = text
      return
    case 'ENTRYPOINT':
      image.entrypoint = JSON.parse(text) as string[]
      return
    case 'CMD':
      image.command = JSON.parse(text) as string[]
      return
    default:
      throw new Error(`the test does not support this instruction of the Dockerfile: ${instruction} ${text}`)
  }
}

/** The project's own installation has filled npm's cache. */
const OFFLINE = { npm_config_prefer_offline: 'true' }

/**
 * Links the project's node_modules in place of a second `npm ci`, which takes longest of all steps. The result is the
 * same if the project has every package that the lock file names. Returns false if it does not, or if `cp` cannot link.
 */
async function linkInstalled(context: string, folder: string): Promise<boolean> {
  const packagesOf = (file: string) =>
    (JSON.parse(readFileSync(join(context, file), 'utf8')) as Lock).packages
  const installed = packagesOf('node_modules/.package-lock.json')
  const locked = Object.entries(packagesOf('package-lock.json')).filter(([name]) => name !== '')
  const isInstalled = locked.every(([name, { version, optional }]) =>
    installed[name] ? installed[name].version === version : optional,
  )
  const target = join(folder, 'node_modules')
  const linked =
    isInstalled &&
    (await run('cp', ['-al', join(context, 'node_modules'), target]).then(
      () => true,
      () => false,
    ))
  if (!linked) {
    rmSync(target, { recursive: true, force: true })
    return false
  }
  rmSync(join(target, '.cache'), { recursive: true, force: true })
  // npm overwrites this file in place, so it must not be a link.
  rmSync(join(target, '.package-lock.json'))
  writeFileSync(
    join(target, '.package-lock.json'),
    JSON.stringify({ lockfileVersion: 3, packages: installed }),
  )
  return true
}

interface Lock {
  packages: Record<string, { version?: string; optional?: boolean }>
}

function copy(words: string[], { root, workdir }: BuiltImage, { context, kept, stages }: BuildContext): void {
  const [, stage] = /^--from=(.*)$/.exec(words[0]!) ?? []
  const sources = words.slice(stage === undefined ? 0 : 1, -1)
  const target = join(root, workdir, words.at(-1)!)
  for (const source of sources) {
    if (stage === undefined && !kept.has(source))
      throw new Error(`.dockerignore excludes ${source}, which the Dockerfile copies`)
    const from = join(stage === undefined ? context : stages.get(stage)!, source)
    // The content of a folder is copied; a file keeps its name.
    const to =
      statSync(from).isDirectory() || !words.at(-1)!.endsWith('/') ? target : join(target, basename(source))
    if (!existsSync(from)) throw new Error(`${source} does not exist`)
    // A finished stage is not needed again.
    if (stage !== undefined && !existsSync(to)) renameSync(from, to)
    else cpSync(from, to, { recursive: true, verbatimSymlinks: true })
  }
}

/** The names in a .dockerignore that excludes everything else. */
export function keptByDockerignore(context: string): Set<string> {
  const lines = readFileSync(join(context, '.dockerignore'), 'utf8').split('\n')
  const [first, ...rest] = lines.filter(line => line !== '' && !line.startsWith('#'))
  if (first !== '*' || rest.some(line => !/^![\w.-]+$/.test(line)))
    throw new Error('.dockerignore is not just a list of exceptions')
  return new Set(rest.map(line => line.slice(1)))
}
