import { render, type ComponentChild } from 'preact'
import { formatWindow } from '../../core/window/tumbling-window'
import type { Ranking, WindowDetail, WindowResult } from '../api'
import { ExternalLink } from './components'
import { select, setText } from './dom'
import { count, countryName, dateTime, escapeInvisible, referrerName } from './format'
import { RankingTable, remainder } from './ranking'

const TOP = 5

/** The result of one window, and the link to its workflow. */
export class WindowPanel {
  private readonly closeButton = select<HTMLButtonElement>('#window-close')

  constructor(onClose: () => void) {
    this.closeButton.addEventListener('click', onClose)
    select('#window').addEventListener('keydown', event => {
      if (event.key === 'Escape' && !this.closeButton.hidden) onClose()
    })
    this.clear()
  }

  clear(): void {
    this.render('One window', <p class="note">Select a window in the chart or in one of the lists.</p>)
    this.closeButton.hidden = true
  }

  focus(): void {
    select('#window-title').focus()
  }

  show({ start, result, workflow }: WindowDetail, windowSize: number): void {
    const link = (
      <p>
        <ExternalLink url={workflow}>Its workflow in the Temporal Web UI</ExternalLink>
      </p>
    )
    const none = <p>No result in Postgres: the window is open or had no events.</p>
    const content = result ? <Result result={result} link={link} /> : [none, link]
    this.render(formatWindow(start, result ? result.end - start : windowSize), content)
    this.closeButton.hidden = false
  }

  private render(title: string, content: ComponentChild): void {
    setText('#window-title', title)
    render(content, select('#window-detail'))
  }
}

function Result({ result, link }: { result: WindowResult; link: ComponentChild }) {
  const facts = {
    Hits: count(result.hits),
    Late: count(result.late),
    Groups: count(result.groups),
    Status: result.status,
    Revision: count(result.revision),
    [result.status === 'closed' ? 'Closed at (UTC)' : 'Published at (UTC)']: dateTime(result.closedAt),
  }
  return (
    <>
      <dl class="facts">
        {Object.entries(facts).map(([name, value]) => (
          <div>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {link}
      <Top title="Hosts" nameHeading="Host" ranking={result.hosts} label={escapeInvisible} />
      <Top title="Referrers" nameHeading="Referrer" ranking={result.referrers} label={referrerName} />
      <Top title="Countries" nameHeading="Country" ranking={result.countries} label={countryName} />
      <h3>Offsets read from Kafka</h3>
      <ul class="read">
        {result.read.map(({ partition, from, last }) => (
          <li>{`partition ${partition}: ${count(from)} to ${count(last)}`}</li>
        ))}
      </ul>
    </>
  )
}

interface TopProps {
  title: string
  nameHeading: string
  ranking: Ranking
  label: (name: string) => string
}

function Top({ title, ranking, ...labels }: TopProps) {
  const rows = ranking.top.slice(0, TOP)
  return (
    <>
      <h3>{title}</h3>
      <RankingTable rows={rows} total={ranking.hits} caption={`${title} of the window`} {...labels} />
      <p class="note">{remainder(ranking, rows)}</p>
    </>
  )
}
