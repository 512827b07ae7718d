import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

interface Step {
  instruction: string
  /** Its text, with continued lines joined. */
  text: string
}

/** What an image that was built step by step says of how it is run. */
export interface BuiltImage {
  /** Where its file system is, as far as its steps have made it. */
  root: string
  workdir: string
  user: string
  entrypoint: string[]
  command: string[]
  environment: Record<string, string>
  /** Steps that would change the machine itself, which were left out. */
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
 * Carries out the steps of a Dockerfile as commands on this machine, each stage in a folder of its own below `folder`.
 * Of its instructions it knows those that this project's has, in the forms in which it has them.
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
      await run('sh', ['-c', text], {
        cwd: join(image.root, image.workdir),
        env: { ...surroundingsOf(process.env), ...image.environment },
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
      throw new Error(`the Dockerfile has an instruction that its test does not know: ${instruction} ${text}`)
  }
}

/** What npm has fetched before, for the project itself, it need not ask for again. */
const surroundingsOf = ({ PATH, HOME }: NodeJS.ProcessEnv) => ({
  PATH,
  HOME,
  npm_config_prefer_offline: 'true',
})

function copy(words: string[], { root, workdir }: BuiltImage, { context, kept, stages }: BuildContext): void {
  const [, stage] = /^--from=(.*)$/.exec(words[0]!) ?? []
  const sources = words.slice(stage === undefined ? 0 : 1, -1)
  const target = join(root, workdir, words.at(-1)!)
  for (const source of sources) {
    if (stage === undefined && !kept.has(source))
      throw new Error(`.dockerignore keeps ${source} from the Dockerfile`)
    const from = join(stage === undefined ? context : stages.get(stage)!, source)
    // A folder's content is copied, a file beside others keeps its name.
    const to =
      statSync(from).isDirectory() || !words.at(-1)!.endsWith('/') ? target : join(target, basename(source))
    if (!existsSync(from)) throw new Error(`${source} is not there`)
    cpSync(from, to, { recursive: true, verbatimSymlinks: true })
  }
}

/** Of a .dockerignore that leaves out all but what it names. */
export function keptByDockerignore(context: string): Set<string> {
  const lines = readFileSync(join(context, '.dockerignore'), 'utf8').split('\n')
  const [first, ...rest] = lines.filter(line => line !== '' && !line.startsWith('#'))
  if (first !== '*' || rest.some(line => !/^![\w.-]+$/.test(line)))
    throw new Error('.dockerignore is more than a list of what it keeps')
  return new Set(rest.map(line => line.slice(1)))
}
