import { h, render } from 'preact'
import type { Timeline } from '../api'
import { defaultRange, type RangeName } from '../time-range'
import { select, setText } from './dom'
import { count, escapeInvisible } from './format'
import type { View } from './view'

const MAX_OPTION_LENGTH = 60
/** The arrow keys select each range on the way, so a range counts only after this many milliseconds. */
const RANGE_DELAY = 150

/** The fields that select the range and the host. */
export class Filters {
  private readonly host = select<HTMLSelectElement>('#host')
  private readonly from = select<HTMLInputElement>('#from')
  private readonly to = select<HTMLInputElement>('#to')
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(private readonly change: (view: View) => void) {
    this.host.addEventListener('change', () => change({ host: this.host.value || undefined }))
    select('#ranges').addEventListener('change', ({ target }) => {
      const range = (target as HTMLInputElement).value as RangeName
      clearTimeout(this.timer)
      this.timer = setTimeout(() => change({ range, from: undefined, to: undefined }), RANGE_DELAY)
    })
    select('#filters').addEventListener('submit', event => {
      event.preventDefault()
      this.submit()
    })
  }

  show(view: View, { range, hosts, hostCount }: Timeline): void {
    const isCustom = view.from !== undefined
    const checked = isCustom ? undefined : (view.range ?? (range && defaultRange(range.windowSize)))
    for (const radio of document.querySelectorAll<HTMLInputElement>('#ranges input'))
      radio.checked = radio.value === checked
    const custom = select<HTMLDetailsElement>('#custom')
    if (isCustom) custom.open = true
    if (range && !custom.contains(document.activeElement)) {
      this.from.value = inputValue(view.from ?? range.from)
      this.to.value = inputValue(view.to ?? range.to)
    }
    const names = hosts.map(({ name }) => name)
    if (view.host !== undefined && !names.includes(view.host)) names.unshift(view.host)
    const options = names.map(value => h('option', { value }, truncate(escapeInvisible(value))))
    render([h('option', { value: '' }, `All hosts (${count(hostCount)})`), ...options], this.host)
    this.host.value = view.host ?? ''
  }

  private submit(): void {
    const [from, to] = [this.from, this.to].map(({ value }) => Date.parse(`${value}Z`)) as [number, number]
    const isMissing = Number.isNaN(from) || Number.isNaN(to)
    const problem = isMissing ? 'Enter both times.' : from >= to ? 'From must be before To.' : ''
    setText('#custom-problem', problem)
    if (problem === '') this.change({ range: undefined, from, to })
  }
}

const inputValue = (time: number) => new Date(time).toISOString().slice(0, 19)

const truncate = (name: string) =>
  name.length > MAX_OPTION_LENGTH ? `${name.slice(0, MAX_OPTION_LENGTH)}…` : name
