import Table from 'cli-table3'

const EDGES = ['top', 'bottom', 'left', 'right'].flatMap(edge => [
  edge,
  `${edge}-mid`,
  `${edge}-left`,
  `${edge}-right`,
])
const NO_BORDERS = {
  ...Object.fromEntries([...EDGES, 'mid', 'mid-mid'].map(part => [part, ''])),
  middle: '  ',
}

/** A table without borders. Columns of numbers are aligned to the right; null is shown as `-`. */
export function table(head: string[], rows: (string | number | null)[][]): string {
  const numeric = head.map((_, column) => rows.every(row => typeof (row[column] ?? 0) === 'number'))
  const printed = new Table({
    head,
    chars: NO_BORDERS,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: numeric.map(isNumeric => (isNumeric ? 'right' : 'left')),
  })
  printed.push(...rows.map(row => row.map(cell => show(cell))))
  return printed.toString()
}

function show(cell: string | number | null | undefined): string {
  if (cell === null || cell === undefined) return '-'
  return typeof cell === 'number' ? cell.toLocaleString('en-US') : printable(cell)
}

/** Replaces control characters, which untrusted hosts and referrers may contain. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\uFFFD')
}
