import { render } from 'preact'
import type { LateHits, LiveStatus, PartitionSummary } from '../api'
import { Bar, Table, type Column } from './components'
import { select, setText } from './dom'
import { count, dateTime, roundedDuration, share, sum, timeOfDay } from './format'

const DAY = 86_400_000

/** The lag, watermark and late events of each partition. */
export class Partitions {
  private late: LateHits[] | undefined
  private status: LiveStatus | undefined

  constructor() {
    this.render([], null, Date.now())
  }

  showLate(late: LateHits[]): void {
    this.late = late
    if (this.status) this.show(this.status)
  }

  show(status: LiveStatus): void {
    this.status = status
    const { pipeline, kafka, at } = status
    if (!pipeline.value) return
    const { partitions } = pipeline.value
    this.render(partitions, kafka.value, at)
    const missing = Object.keys(kafka.value ?? {}).length - partitions.length
    setText('#partitions-note', missing > 0 ? `${count(missing)} have no poller yet.` : '')
  }

  private render(rows: PartitionSummary[], ends: Record<number, number> | null, now: number): void {
    const lags = rows.map(row => lagOf(row, ends))
    const maxLag = Math.max(1, ...lags.map(lag => lag ?? 0))
    const [late, records] = [sum(rows, row => row.late), sum(rows, row => row.records)]
    const lateIn = (late: LateHits[]) => count(sum(late, ({ hits }) => hits))
    const column = (
      heading: string,
      number: (row: PartitionSummary) => number,
    ): Column<PartitionSummary> => ({
      heading,
      class: 'number',
      cell: row => count(number(row)),
      total: count(sum(rows, number)),
    })
    const columns: Column<PartitionSummary>[] = [
      { heading: 'Partition', cell: row => row.partition, total: 'All' },
      { heading: 'Poller', class: 'number', cell: row => count(row.poller) },
      {
        heading: 'Lag, in records',
        class: 'bar-column',
        cell: row => withBar(lagText(lagOf(row, ends)), lagOf(row, ends) ?? 0, maxLag),
        total: lagText(totalLag(lags)),
      },
      { heading: 'Watermark (UTC)', cell: row => watermarkText(row, now) },
      { heading: 'Behind', class: 'number', cell: row => behind(row, now) },
      column('Records', row => row.records),
      column('Hits', row => row.hits),
      {
        heading: 'Late by watermark',
        class: 'bar-column',
        cell: row => withBar(lateText(row.late, row.records), row.late, row.records),
        total: lateText(late, records),
      },
      {
        heading: 'Late in this range',
        class: 'number',
        cell: row => (this.late ? lateIn(this.late.filter(late => late.partition === row.partition)) : '–'),
        total: this.late ? lateIn(this.late) : '–',
      },
      column('Rejected', row => row.rejected),
    ]
    render(
      <Table columns={columns} rows={rows} keyOf={row => row.partition} footer={rows.length > 0} />,
      select('#partitions'),
    )
  }
}

const withBar = (text: string, part: number, whole: number) => (
  <>
    {text}
    <Bar part={part} whole={whole} />
  </>
)

const lateText = (late: number, records: number) => `${count(late)} (${share(late, records)})`

const watermarkText = ({ watermark }: PartitionSummary, now: number) =>
  watermark === null ? 'no event yet' : (now - watermark > DAY ? dateTime : timeOfDay)(watermark)

const behind = ({ watermark, idle }: PartitionSummary, now: number) =>
  (watermark === null ? '–' : roundedDuration(now - watermark)) + (idle ? ', idle' : '')

/** Null if Kafka has not reported the end of the partition. */
export function lagOf({ partition, position }: PartitionSummary, ends: Record<number, number> | null) {
  const end = ends?.[partition]
  return end === undefined ? null : Math.max(0, end - position)
}

/** Null if any lag is. */
export const totalLag = (lags: (number | null)[]) => (lags.includes(null) ? null : sum(lags, lag => lag!))

export const lagText = (lag: number | null) => (lag === null ? 'unknown' : count(lag))
