import { formatWindow } from '../../core/window/tumbling-window'
import type { WindowPage, WindowSummary } from '../messages'
import { select, Keyed, make, setText } from './dom'
import { count } from './format'

/** The list of windows that have a result, newest first, a page at a time. */
export class WindowList {
  private readonly rows: Keyed<WindowSummary, number>
  private readonly older = select<HTMLButtonElement>('#older')
  private readonly newest = select<HTMLButtonElement>('#newest')
  private page: WindowPage | undefined
  /** The page holds windows before this time; the newest ones where it is undefined. */
  before: number | undefined

  constructor(
    private readonly pick: (start: number) => void,
    reload: () => void,
  ) {
    this.rows = new Keyed(
      select('#windows tbody'),
      ({ start }) => start,
      window => this.row(window),
    )
    this.older.addEventListener('click', () => {
      if (this.older.getAttribute('aria-disabled') === 'true') return
      this.before = this.page?.windows.at(-1)?.start
      reload()
    })
    this.newest.addEventListener('click', () => {
      this.before = undefined
      reload()
    })
  }

  show(page: WindowPage, picked: number | undefined): void {
    this.page = page
    this.rows.show(page.windows)
    // A button that is disabled loses the focus.
    this.older.setAttribute('aria-disabled', String(!page.older))
    setText(select('#windows-note'), page.windows.length === 0 ? 'None yet.' : '')
    this.mark(picked)
  }

  mark(picked: number | undefined): void {
    for (const button of document.querySelectorAll('#windows button'))
      button.setAttribute('aria-pressed', String(Number((button as HTMLElement).dataset.start) === picked))
  }

  private row(window: WindowSummary): { element: HTMLElement; update: (window: WindowSummary) => void } {
    const { start, end } = window
    const attributes = { type: 'button', 'data-start': String(start) }
    const name = make('button', { class: 'window-name', attributes }, formatWindow(start, end - start))
    name.addEventListener('click', () => this.pick(start))
    const figures = [0, 1, 2].map(() => make('td', { class: 'number' }))
    const status = make('td')
    const element = make('tr', {}, make('th', { attributes: { scope: 'row' } }, name), ...figures, status)
    const update = ({ hits, late, groups, status: now, revision }: WindowSummary) => {
      ;[hits, late, groups].forEach((figure, i) => setText(figures[i]!, count(figure)))
      setText(status, revision > 1 ? `${now}, revision ${revision}` : now)
    }
    return { element, update }
  }
}
