import type { Ranked, Ranking } from '../api'
import { Bar, Name, Table } from './components'
import { count, share, sum } from './format'

interface Props {
  rows: Ranked[]
  total: number
  caption: string
  nameHeading: string
  numberHeading?: string
  label: (name: string) => string
  /** Shown instead of a table without rows. */
  placeholder?: string
}

/** A bar chart that is a table. */
export function RankingTable({ rows, total, caption, nameHeading, label, ...options }: Props) {
  const { numberHeading = 'Hits', placeholder } = options
  if (rows.length === 0 && placeholder) return <p class="empty">{placeholder}</p>
  const cell = ({ name, hits }: Ranked) => (
    <>
      <Name>{label(name)}</Name>
      <Bar part={hits} whole={rows[0]!.hits} />
    </>
  )
  const columns = [
    { heading: nameHeading, class: 'ranked', cell },
    { heading: numberHeading, class: 'number', cell: ({ hits }: Ranked) => count(hits) },
    { heading: 'Share', class: 'number', cell: ({ hits }: Ranked) => share(hits, total) },
  ]
  return <Table class="ranking" caption={caption} columns={columns} rows={rows} />
}

/** A sentence about the names that are not listed; empty if all are. */
export function remainder({ names, hits }: Ranking, listed: Ranked[]): string {
  if (names <= listed.length) return ''
  const rest = hits - sum(listed, row => row.hits)
  return `${count(names - listed.length)} more: ${count(rest)} hits, ${share(rest, hits)}`
}
