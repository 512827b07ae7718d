import Table from 'cli-table3'

const NO_BORDERS = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
}

/** A table without borders; numbers are aligned to the right. `-` stands for what is not known. */
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

/** Hosts and referrers are what strangers send: control characters must not reach the terminal. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\uFFFD')
}
