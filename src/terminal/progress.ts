import { Presets, SingleBar } from 'cli-progress'
import { grouped } from '../core/numbers'

/** Minimum time between two lines on an output that is not a terminal, milliseconds. */
const LINE_INTERVAL = 5_000
/** Resolution of the bar, whose values are whole numbers. */
const STEPS = 1_000

export interface ProgressOptions {
  stream: NodeJS.WriteStream
  quiet: boolean
  /** The share, 0 to 1, that is done after this many records; absent if the end is unknown. */
  fraction?: (sent: number) => number
}

/** Shows the progress of a producing run: a bar on a terminal, and a line every few seconds elsewhere. */
export class Progress {
  private readonly bar: SingleBar | undefined
  private readonly started = performance.now()
  private lastLine = 0
  private lastError = -Infinity
  private sent = 0

  constructor(private readonly options: ProgressOptions) {
    const { stream, quiet, fraction } = options
    if (quiet || !stream.isTTY) return
    const format = fraction ? '{bar} {percentage}% | {sent} records | {rate}/s' : '{sent} records | {rate}/s'
    this.bar = new SingleBar(
      { stream, format, hideCursor: true, clearOnComplete: true },
      Presets.shades_classic,
    )
    this.bar.start(STEPS, 0, { sent: '0', rate: '0' })
  }

  update({ sent }: { readonly sent: number }): void {
    this.sent = sent
    const elapsed = performance.now() - this.started
    const rate = grouped((sent / elapsed) * 1_000)
    const fraction = this.options.fraction?.(sent)
    if (this.bar) {
      this.bar.update(Math.floor(STEPS * Math.min(fraction ?? 0, 1)), { sent: grouped(sent), rate })
    } else if (elapsed - this.lastLine >= LINE_INTERVAL) {
      this.lastLine = elapsed
      const share = fraction === undefined ? '' : `${Math.floor(100 * fraction)}%, `
      this.notice(`${share}${grouped(sent)} records, ${rate}/s`)
    }
  }

  /** Writes a line above the bar. */
  notice(line: string): void {
    if (this.options.quiet) return
    if (this.bar) this.options.stream.write('\r\u001b[K')
    this.options.stream.write(`${line}\n`)
  }

  /** Reports an error that the Kafka client retries, unless nothing was sent yet: the failure itself is clearer then. */
  kafkaError(message: string): void {
    const elapsed = performance.now() - this.started
    if (this.sent === 0 || elapsed - this.lastError < LINE_INTERVAL) return
    this.lastError = elapsed
    this.notice(`Kafka: ${message.split('\n')[0]}; retrying`)
  }

  stop(): void {
    this.bar?.stop()
  }
}
