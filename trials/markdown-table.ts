/** A Markdown table with padded columns; columns of figures are aligned to the right. */
export function markdownTable(head: string[], rows: (string | number)[][]): string {
  const columns = head.map((title, index) => {
    const cells = rows.map(row => String(row[index]))
    const width = Math.max(3, title.length, ...cells.map(cell => cell.length))
    const isNumeric = cells.every(cell => /^([\d.,]+( \w+)?|-?)$/.test(cell))
    const pad = (cell: string) => (isNumeric ? cell.padStart(width) : cell.padEnd(width))
    return [pad(title), isNumeric ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width), ...cells.map(pad)]
  })
  return Array.from(
    { length: rows.length + 2 },
    (_, line) => `| ${columns.map(column => column[line]).join(' | ')} |`,
  ).join('\n')
}
