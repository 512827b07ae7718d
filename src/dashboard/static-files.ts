import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../errors'
import { packageRoot } from '../package-root'

export interface StaticFile {
  type: string
  body: Buffer
}

const TYPES = {
  'index.html': 'text/html; charset=utf-8',
  'main.js': 'text/javascript; charset=utf-8',
  'main.css': 'text/css; charset=utf-8',
  'favicon.svg': 'image/svg+xml',
}

/** The build's output folder. */
const FOLDER = join(packageRoot(), 'dist', 'src', 'dashboard', 'page')

/** The files of the page by URL path. */
export function staticFiles(): Map<string, StaticFile> {
  try {
    const files = new Map(
      Object.entries(TYPES).map(([name, type]): [string, StaticFile] => [
        `/${name}`,
        { type, body: readFileSync(join(FOLDER, name)) },
      ]),
    )
    return files.set('/', files.get('/index.html')!)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new UserError('The dashboard is not built. Run "make setup".')
  }
}
