import { render } from 'preact'
import { formatWindow } from '../../core/window/tumbling-window'
import type { WindowPage, WindowSummary } from '../api'
import { Table, type Column } from './components'
import { select, setText } from './dom'
import { count } from './format'

/** The list of windows with a result, newest first, a page at a time. */
export class WindowList {
  private page: WindowPage = { windows: [], older: false }
  /** The page shows windows before this time; undefined for the newest. */
  before: number | undefined

  constructor(
    private readonly onSelect: (start: number) => void,
    reload: () => void,
  ) {
    select('#older').addEventListener('click', () => {
      if (!this.page.older) return
      this.before = this.page.windows.at(-1)?.start
      reload()
    })
    select('#newest').addEventListener('click', () => {
      this.before = undefined
      reload()
    })
    this.highlight(undefined)
  }

  show(page: WindowPage, selected: number | undefined): void {
    this.page = page
    // Not `disabled`, which would take the focus away.
    select('#older').setAttribute('aria-disabled', String(!page.older))
    setText('#windows-note', page.windows.length === 0 ? 'None yet.' : '')
    this.highlight(selected)
  }

  highlight(selected: number | undefined): void {
    const name = ({ start, end }: WindowSummary) => (
      <button
        type="button"
        class="window-name"
        data-start={start}
        aria-pressed={start === selected}
        onClick={() => this.onSelect(start)}
      >
        {formatWindow(start, end - start)}
      </button>
    )
    const columns: Column<WindowSummary>[] = [
      { heading: 'Window (UTC)', cell: name },
      { heading: 'Hits', class: 'number', cell: ({ hits }) => count(hits) },
      { heading: 'Late', class: 'number', cell: ({ late }) => count(late) },
      { heading: 'Groups', class: 'number', cell: ({ groups }) => count(groups) },
      {
        heading: 'Status',
        cell: ({ status, revision }) => (revision > 1 ? `${status}, revision ${revision}` : status),
      },
    ]
    render(
      <Table columns={columns} rows={this.page.windows} keyOf={({ start }) => start} />,
      select('#windows'),
    )
  }
}
