import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/package-root'
import { code, NOTICE, table } from './markdown'

/** docs/relations.md: the tables and views of ddl/init.sql that have a comment, with their columns. */
export function relationsDocument(): string {
  const sql = readFileSync(join(packageRoot(), 'ddl', 'init.sql'), 'utf8')
  const columns = columnsOf(sql)
  const comments = [...sql.matchAll(/^comment on (table|view|column) (\S+) is\s+'((?:[^']|'')*)';$/gm)].map(
    ([, kind, name, text]) => ({ kind: kind!, name: name!, text: text!.replaceAll("''", "'") }),
  )
  const meanings = new Map(comments.map(({ name, text }) => [name, text]))
  const relations = comments.filter(({ kind }) => kind !== 'column')
  const sections = relations.map(({ kind, name, text }) => {
    const rows = [...columns.get(name)!].map(([column, type]) => [
      code(column),
      type,
      meanings.get(`${name}.${column}`) ?? '',
    ])
    return `## ${name}\n\n${text} (${kind})\n\n${table(['column', 'type', 'meaning'], rows)}`
  })
  return [
    '# Tables and views',
    NOTICE('ddl/init.sql'),
    'Query these relations. Once every window has closed, records read = hits + late + rejected. [postgres.md](postgres.md) says what is ' +
      'kept, for how long, and how a year of data stays fast to query.',
    ...sections,
  ].join('\n\n')
}

/** The type of each column by relation. */
function columnsOf(sql: string): Map<string, Map<string, string>> {
  const relations = new Map<string, Map<string, string>>()
  for (const [, name, body] of sql.matchAll(/^create table (\w+) \(\n([^]*?)^\)/gm)) {
    const columns = [...body!.matchAll(/^ {2}(?!constraint)(\w+) (\w+)/gm)].map(
      ([, column, type]) => [column!, type!] as const,
    )
    relations.set(name!, new Map(columns))
  }
  for (const [, name, items, table] of sql.matchAll(
    /^create view (\w+) as\n\s*select ([^]*?)\n {2}from (\w+)/gm,
  )) {
    const columns = splitItems(items!).map(item => {
      const column = /\w+$/.exec(item)![0]
      return [column, /::(\w+)/.exec(item)?.[1] ?? relations.get(table!)!.get(column)!] as const
    })
    relations.set(name!, new Map(columns))
  }
  return relations
}

/** The items of a select list, split at the commas outside parentheses. */
function splitItems(list: string): string[] {
  let depth = 0
  const marked = list.replace(/[(),]/g, character => {
    if (character === '(') depth++
    if (character === ')') depth--
    return character === ',' && depth === 0 ? '\0' : character
  })
  return marked.split('\0').map(item => item.trim())
}
