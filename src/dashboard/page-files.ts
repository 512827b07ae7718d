import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../errors'
import { packageRoot } from '../package-root'

export interface PageFile {
  type: string
  body: Buffer
}

const TYPES = {
  'index.html': 'text/html; charset=utf-8',
  'main.js': 'text/javascript; charset=utf-8',
  'main.css': 'text/css; charset=utf-8',
  'favicon.svg': 'image/svg+xml',
}

/** Where the build leaves the page. */
const FOLDER = join(packageRoot(), 'dist', 'src', 'dashboard', 'page')

/** The page, by path. */
export function pageFiles(): Map<string, PageFile> {
  try {
    const files = Object.entries(TYPES).map(([name, type]): [string, PageFile] => [
      `/${name}`,
      { type, body: readFileSync(join(FOLDER, name)) },
    ])
    const found = new Map(files)
    found.set('/', found.get('/index.html')!)
    return found
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new UserError('The dashboard is not built: run "make setup".')
  }
}
