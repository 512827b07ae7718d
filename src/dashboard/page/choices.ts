import type { Timeline } from '../messages'
import { defaultRange, RANGES, type RangeName } from '../span'
import type { Choice } from './choice'
import { select, make, setText } from './dom'
import { count, visible } from './format'

const TITLES: Record<RangeName, string> = {
  '15m': '15 minutes',
  '1h': '1 hour',
  '6h': '6 hours',
  '24h': '24 hours',
  '7d': '7 days',
  '30d': '30 days',
  '1y': '1 year',
  all: 'All',
}

/** A list shows no more of a name. */
const NAME_IN_LIST = 60
const SETTLED = 150

/** The fields by which a person chooses range and host. */
export class Choices {
  private readonly host = select<HTMLSelectElement>('#host')
  private readonly from = select<HTMLInputElement>('#from')
  private readonly to = select<HTMLInputElement>('#to')
  private readonly problem = select('#custom-problem')
  private listed = ''
  private settling: ReturnType<typeof setTimeout> | undefined

  constructor(change: (choice: Choice) => void) {
    const ranges = select('#ranges')
    for (const name of Object.keys(RANGES) as RangeName[]) {
      const radio = make('input', { attributes: { type: 'radio', name: 'range', value: name } })
      radio.addEventListener('change', () => {
        // The arrow keys pass through all between.
        clearTimeout(this.settling)
        this.settling = setTimeout(() => change({ range: name, from: undefined, to: undefined }), SETTLED)
      })
      ranges.append(make('label', {}, radio, make('span', {}, TITLES[name])))
    }
    this.host.addEventListener('change', () =>
      change({ host: this.host.value === '' ? undefined : this.host.value }),
    )
    select<HTMLFormElement>('#choices').addEventListener('submit', event => {
      event.preventDefault()
      const [from, to] = [this.from, this.to].map(({ value }) => Date.parse(`${value}Z`)) as [number, number]
      const wrong =
        Number.isNaN(from) || Number.isNaN(to)
          ? 'Give both times.'
          : from >= to
            ? 'From is not before to.'
            : ''
      setText(this.problem, wrong)
      if (wrong === '') change({ range: undefined, from, to })
    })
  }

  show(choice: Choice, { span, hosts, hostCount }: Timeline): void {
    const custom = choice.from !== undefined
    const range = custom ? undefined : (choice.range ?? (span ? defaultRange(span.windowSize) : undefined))
    for (const radio of document.querySelectorAll<HTMLInputElement>('#ranges input'))
      radio.checked = radio.value === range
    if (span && !select('#custom').contains(document.activeElement)) {
      this.from.value = local(choice.from ?? span.from)
      this.to.value = local(choice.to ?? span.to)
    }
    if (custom) select<HTMLDetailsElement>('#custom').open = true
    this.list(
      choice.host,
      hosts.map(({ name }) => name),
      hostCount,
    )
  }

  private list(picked: string | undefined, names: string[], hostCount: number): void {
    const listed = picked === undefined || names.includes(picked) ? names : [picked, ...names]
    const text = JSON.stringify([listed, hostCount])
    if (text !== this.listed) {
      this.listed = text
      const options = listed.map(name =>
        make('option', { attributes: { value: name } }, short(visible(name))),
      )
      const all = make('option', { attributes: { value: '' } }, `All hosts (${count(hostCount)})`)
      this.host.replaceChildren(all, ...options)
    }
    this.host.value = picked ?? ''
  }
}

const local = (time: number) => new Date(time).toISOString().slice(0, 19)

const short = (name: string) => (name.length > NAME_IN_LIST ? `${name.slice(0, NAME_IN_LIST)}…` : name)
