import { render } from 'preact'
import type { LiveStatus } from '../api'
import { select, setText } from './dom'
import { count, sum, timeOfDay } from './format'
import { lagOf, lagText, totalLag } from './partitions'

/** The rate is an average over this time. */
const RATE_PERIOD = 5_000
const MIN_RATE_PERIOD = 900

/** The figures at the top of the page, the problems, and the state of the connection. */
export class Summary {
  private readonly samples: { at: number; records: number }[] = []
  private status: LiveStatus | undefined
  private connected = false

  constructor() {
    setInterval(() => this.showFreshness(), 1_000)
  }

  show(status: LiveStatus): void {
    this.status = status
    const { value: pipeline, at } = status.pipeline
    if (pipeline) {
      const { group, topic, state, openCount, partitions } = pipeline
      const lags = partitions.map(partition => lagOf(partition, status.kafka.value))
      setText('#pipeline', `${group} on ${topic}: ${state}`)
      setText('#open-count', count(openCount))
      setText('#rejected', count(sum(partitions, ({ rejected }) => rejected)))
      setText('#lag', lagText(totalLag(lags)))
      this.showRate({ at: at!, records: sum(partitions, ({ records }) => records) })
    }
    this.showProblems()
    this.showFreshness()
  }

  showConnection(connected: boolean): void {
    this.connected = connected
    this.showProblems()
    this.showFreshness()
  }

  private showRate(sample: { at: number; records: number }): void {
    const { samples } = this
    if (samples.at(-1)?.at !== sample.at) samples.push(sample)
    while (samples.length > 2 && sample.at - samples[1]!.at >= RATE_PERIOD) samples.shift()
    const { at, records } = samples[0]!
    const elapsed = sample.at - at
    if (elapsed < MIN_RATE_PERIOD) return
    setText('#rate', count(Math.max(0, Math.round((1000 * (sample.records - records)) / elapsed))))
  }

  private showProblems(): void {
    const { status, connected } = this
    if (!status) return
    const sources = { Pipeline: status.pipeline, Kafka: status.kafka, Postgres: status.results }
    const lines = Object.entries(sources)
      .filter(([, { problem }]) => problem)
      .map(([name, { at, problem }]) => {
        const age = at === null ? '' : ` The figures are from ${timeOfDay(at)} UTC.`
        return `${name}: ${problem}${age}`
      })
    if (!connected) lines.push('The dashboard server does not answer. The page reconnects by itself.')
    render(
      lines.map(line => <p>{line}</p>),
      select('#problems'),
    )
  }

  private showFreshness(): void {
    select('#freshness').classList.toggle('live', this.connected)
    if (!this.status) return
    setText('#freshness', this.connected ? `Live, ${timeOfDay(Date.now())} UTC` : 'Not connected')
  }
}
