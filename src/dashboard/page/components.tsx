import type { ComponentChildren } from 'preact'

interface Children {
  children: ComponentChildren
}

/** A name from an event. It may be written right to left, which must not reorder the text around it. */
export const Name = ({ children }: Children) => <bdi class="name">{children}</bdi>

/** A link to another program, in a new tab; nothing unless the URL is one of the web. */
export function ExternalLink({ url, label, children }: Children & { url: string | null; label?: string }) {
  if (url === null || !/^https?:\/\//.test(url)) return null
  return (
    <a class="external" href={url} target="_blank" rel="noopener noreferrer" aria-label={label}>
      {children}
    </a>
  )
}

/** Hidden from screen readers, because the number beside it says the same. */
export function Bar({ part, whole }: { part: number; whole: number }) {
  const width = `${whole === 0 ? 0 : Math.min(100, (100 * part) / whole)}%`
  return (
    <span class="bar" aria-hidden="true">
      <span class="bar-fill" style={{ width }} />
    </span>
  )
}

/** Null and undefined cells stay empty. */
export interface Column<Row> {
  heading: ComponentChildren
  /** CSS class of its cells; `number` aligns to the right. */
  class?: string
  cell: (row: Row) => ComponentChildren
  /** Content of the footer. */
  total?: ComponentChildren
}

interface TableProps<Row> {
  /** The cells of the first column are the headings of their rows. */
  columns: Column<Row>[]
  rows: Row[]
  /** A row that keeps its key keeps its elements, and with them the focus. */
  keyOf?: (row: Row) => number
  class?: string
  caption?: string
  footer?: boolean
}

export function Table<Row>({
  columns,
  rows,
  keyOf,
  class: name = 'figures',
  caption,
  footer,
}: TableProps<Row>) {
  const row = (cell: (column: Column<Row>) => ComponentChildren, key?: number) => {
    const [first, ...others] = columns.map(column => ({ class: column.class, children: cell(column) }))
    return (
      <tr key={key}>
        <th scope="row" {...first} />
        {others.map(props => (
          <td {...props} />
        ))}
      </tr>
    )
  }
  return (
    <table class={name}>
      {caption && <caption class="visually-hidden">{caption}</caption>}
      <thead>
        <tr>
          {columns.map(column => (
            <th scope="col" class={column.class}>
              {column.heading}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>{rows.map(item => row(column => column.cell(item), keyOf?.(item)))}</tbody>
      {footer && <tfoot>{row(column => column.total)}</tfoot>}
    </table>
  )
}
