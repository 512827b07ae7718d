import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { format, resolveConfig } from 'prettier'
import { packageRoot } from '../../src/package-root'
import { commandsDocument } from './commands'
import { configurationDocument, environmentTemplate } from './configuration'
import { relationsDocument } from './relations'

/** Writes the reference documents, or with `--check` fails if one of them is stale. The argument is their folder. */
async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { check: { type: 'boolean' } },
    allowPositionals: true,
  })
  const folder = positionals[0] ?? packageRoot()
  const style = await resolveConfig(join(packageRoot(), 'package.json'))
  const markdown = (text: string) =>
    format(text, { ...style, parser: 'markdown', proseWrap: 'always', printWidth: 120 })
  const documents = {
    'docs/commands.md': await markdown(await commandsDocument()),
    'docs/configuration.md': await markdown(configurationDocument()),
    'docs/relations.md': await markdown(relationsDocument()),
    'stream.env.example': environmentTemplate(),
  }
  const stale = Object.entries(documents).filter(
    ([file, text]) => readFileSync(join(folder, file), 'utf8') !== text,
  )
  if (!values.check) {
    for (const [file, text] of stale) writeFileSync(join(folder, file), text)
  } else if (stale.length > 0) {
    console.error(`Stale: ${stale.map(([file]) => file).join(', ')}. Run "npm run docs".`)
    process.exitCode = 1
  }
}

void main()
