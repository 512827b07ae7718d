import { grouped } from '../core/numbers'

/** Longer texts of strangers are cut, so that a row stays a line. */
const LONGEST = 80

/**
 * A stranger's text for a table of Markdown: as code, in which nothing is a link, an image or HTML, and without the
 * characters that would end the code, the cell or the line, or turn around what follows.
 */
export function code(text: string): string {
  const characters = [...text.slice(0, 2 * LONGEST)]
  const shown = characters.slice(0, LONGEST).join('').replace(/`/g, "'").replace(/\|/g, '¦')
  // Control and format characters, line and paragraph separators, and halves of surrogate pairs.
  const plain = shown.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '·').trim()
  return `\`${plain}${characters.length > LONGEST ? '…' : ''}\``
}

/** A table; every cell must be safe Markdown already. Columns that hold figures are aligned to the right. */
export function markdownTable(head: string[], rows: (string | number)[][]): string[] {
  const isFigure = head.map((_, column) => rows.every(row => typeof row[column] === 'number'))
  const line = (cells: (string | number)[]) =>
    `| ${cells.map(cell => (typeof cell === 'number' ? grouped(cell) : cell)).join(' | ')} |`
  return [line(head), line(isFigure.map(figure => (figure ? '---:' : '---'))), ...rows.map(line)]
}
