import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The root folder of this package, both in its sources and in its build. */
export function packageRoot(): string {
  for (let folder = __dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder
    if (folder === dirname(folder)) throw new Error(`no package.json above ${__dirname}`)
  }
}
