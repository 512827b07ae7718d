import type { Live, PartitionNow } from '../messages'
import { select, make, setText } from './dom'
import { clock, count } from './format'
import { lagOf } from './partitions'

/** So long ago that the difference to now is a rate. */
const RATE_OVER = 5_000

/** The figures at the top, what is wrong, and how fresh all of it is. */
export class Glance {
  private readonly reads: { at: number; records: number }[] = []
  private live: Live | undefined
  private connected = false

  constructor() {
    setInterval(() => this.freshness(), 1_000)
  }

  show(live: Live): void {
    this.live = live
    const now = live.pipeline.value
    if (now) {
      const all = (figure: (partition: PartitionNow) => number) =>
        now.partitions.reduce((sum, partition) => sum + figure(partition), 0)
      const records = all(partition => partition.records)
      const lags = now.partitions.map(partition => lagOf(partition, live.kafka.value))
      setText(select('#pipeline'), `${now.group} on ${now.topic}: ${now.state}`)
      setText(select('#open-count'), count(now.openCount))
      setText(select('#rejected'), count(all(partition => partition.rejected)))
      setText(
        select('#lag'),
        lags.includes(null) ? 'unknown' : count(lags.reduce<number>((a, b) => a + b!, 0)),
      )
      this.rate(live.pipeline.at!, records)
    }
    this.problems()
    this.freshness()
  }

  showConnection(connected: boolean): void {
    this.connected = connected
    this.problems()
    this.freshness()
  }

  private rate(at: number, records: number): void {
    const { reads } = this
    if (reads.at(-1)?.at !== at) reads.push({ at, records })
    while (reads.length > 2 && at - reads[1]!.at >= RATE_OVER) reads.shift()
    const before = reads[0]!
    if (at - before.at < 900) return
    setText(
      select('#rate'),
      count(Math.max(0, Math.round((1000 * (records - before.records)) / (at - before.at)))),
    )
  }

  private problems(): void {
    const { live } = this
    const sources = [
      ['Pipeline', live?.pipeline],
      ['Kafka', live?.kafka],
      ['Postgres', live?.results],
    ] as const
    const lines = sources.flatMap(([name, heard]) => {
      if (!heard?.problem) return []
      const since = heard.at === null ? '' : ` Its figures are of ${clock(heard.at)} UTC.`
      return [`${name}: ${heard.problem}${since}`]
    })
    if (live && !this.connected)
      lines.push('The dashboard itself does not answer; this page goes on when it does.')
    const place = select('#problems')
    // Read out when it changes, so it must not change for nothing.
    if (lines.join('\n') === [...place.children].map(child => child.textContent).join('\n')) return
    place.replaceChildren(...lines.map(line => make('p', {}, line)))
  }

  private freshness(): void {
    const place = select('#freshness')
    place.classList.toggle('live', this.connected)
    if (!this.live) return
    setText(place, this.connected ? `Live, ${clock(Date.now())} UTC` : 'Not connected')
  }
}
