import type { LateHits, Live, PartitionEnd, PartitionNow } from '../messages'
import { select, Keyed, make, setText } from './dom'
import { clock, count, instant, roughly, share } from './format'
import { bar } from './ranking'

/** Columns of the last row that are not aligned to the right. */
const LEFT = new Set([1, 2, 6])

interface Row extends PartitionNow {
  /** Null where Kafka does not say where the partition ends. */
  lag: number | null
  /** Null where Postgres has not said. */
  lateInRange: number | null
}

/** Each partition's way through the topic: how far behind its end, and behind the clock, and what came too late. */
export class Partitions {
  private readonly rows = new Keyed<Row, number>(
    select('#partitions tbody'),
    ({ partition }) => partition,
    () => this.row(),
  )
  private late: LateHits[] | undefined
  private live: Live | undefined
  private mostLag = 0

  showLate(late: LateHits[]): void {
    this.late = late
    if (this.live) this.show(this.live)
  }

  show(live: Live): void {
    this.live = live
    const now = live.pipeline.value
    if (!now) return
    const rows = now.partitions.map((partition): Row => ({
      ...partition,
      lag: lagOf(partition, live.kafka.value),
      lateInRange: this.lateOf(partition.partition),
    }))
    this.mostLag = Math.max(1, ...rows.map(({ lag }) => lag ?? 0))
    this.rows.show(rows)
    this.sum(rows)
    const missing = (live.kafka.value?.length ?? 0) - rows.length
    setText(select('#partitions-note'), missing > 0 ? `${count(missing)} have no poller yet.` : '')
  }

  private lateOf(partition: number): number | null {
    if (!this.late) return null
    return this.late.reduce((sum, late) => (late.partition === partition ? sum + late.hits : sum), 0)
  }

  private row(): { element: HTMLElement; update: (row: Row) => void } {
    const name = make('th', { attributes: { scope: 'row' } })
    const kinds = ['number', 'bar-cell', '', 'number', 'number', 'number', 'bar-cell', 'number', 'number']
    const cells = kinds.map(kind => make('td', { class: kind }))
    const element = make('tr', {}, name, ...cells)
    const update = (row: Row) => {
      const at = this.live?.at ?? Date.now()
      const { watermark } = row
      setText(name, String(row.partition))
      const lag = row.lag === null ? 'unknown' : count(row.lag)
      const late = `${count(row.late)} (${share(row.late, row.records)})`
      const texts = [
        count(row.poller),
        null,
        watermark === null
          ? 'no event yet'
          : at - watermark > 86_400_000
            ? instant(watermark)
            : clock(watermark),
        (watermark === null ? '–' : roughly(at - watermark)) + (row.idle ? ', idle' : ''),
        count(row.records),
        count(row.hits),
        null,
        row.lateInRange === null ? '–' : count(row.lateInRange),
        count(row.rejected),
      ]
      texts.forEach((text, i) => text !== null && setText(cells[i]!, text))
      cells[1]!.replaceChildren(lag, bar(row.lag ?? 0, this.mostLag))
      cells[6]!.replaceChildren(late, bar(row.late, row.records))
    }
    return { element, update }
  }

  private sum(rows: Row[]): void {
    const all = (figure: (row: Row) => number) => rows.reduce((sum, row) => sum + figure(row), 0)
    const records = all(({ records }) => records)
    const late = all(({ late }) => late)
    const cells = [
      '',
      rows.some(({ lag }) => lag === null) ? 'unknown' : count(all(({ lag }) => lag ?? 0)),
      '',
      '',
      count(records),
      count(all(({ hits }) => hits)),
      `${count(late)} (${share(late, records)})`,
      this.late === undefined ? '–' : count(all(({ lateInRange }) => lateInRange ?? 0)),
      count(all(({ rejected }) => rejected)),
    ].map((text, i) => make('td', { class: LEFT.has(i) ? '' : 'number' }, text))
    select('#partitions tfoot').replaceChildren(
      make('tr', {}, make('th', { attributes: { scope: 'row' } }, 'All'), ...cells),
    )
  }
}

export function lagOf({ partition, position }: PartitionNow, ends: PartitionEnd[] | null): number | null {
  const end = ends?.find(each => each.partition === partition)
  return end ? Math.max(0, end.high - position) : null
}
