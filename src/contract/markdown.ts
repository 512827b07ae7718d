import { grouped } from '../core/numbers'

/** Longer foreign text is cut, so that a row stays on one line. */
const MAX_LENGTH = 80

/**
 * Foreign text as Markdown code, safe in a table cell: it cannot form links, images or HTML, end the code, the cell or
 * the line, or reverse the text after it.
 */
export function code(text: string): string {
  const characters = [...text.slice(0, 2 * MAX_LENGTH)]
  const shown = characters.slice(0, MAX_LENGTH).join('').replace(/`/g, "'").replace(/\|/g, '¦')
  // Control and format characters, line and paragraph separators, and halves of surrogate pairs.
  const plain = shown.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '·').trim()
  return `\`${plain}${characters.length > MAX_LENGTH ? '…' : ''}\``
}

/** A table with numeric columns aligned right. Every cell must already be safe Markdown. */
export function markdownTable(head: string[], rows: (string | number)[][]): string[] {
  const isNumeric = head.map((_, column) => rows.every(row => typeof row[column] === 'number'))
  const line = (cells: (string | number)[]) =>
    `| ${cells.map(cell => (typeof cell === 'number' ? grouped(cell) : cell)).join(' | ')} |`
  return [line(head), line(isNumeric.map(numeric => (numeric ? '---:' : '---'))), ...rows.map(line)]
}

/** Joins the sentences that apply. */
export function joinSentences(...sentences: (string | false | undefined)[]): string {
  return sentences.filter(Boolean).join(' ')
}
