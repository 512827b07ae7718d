import { Presets, SingleBar } from 'cli-progress'
import { grouped } from '../core/numbers'

/** Without a terminal a line is written no more often than this, in milliseconds. */
const LINE_INTERVAL = 5_000
/** A bar has whole steps. */
const STEPS = 1_000

export interface ProgressOptions {
  stream: NodeJS.WriteStream
  quiet: boolean
  /** How much is done, 0 to 1; absent where the end is not known. */
  fraction?: (sent: number) => number
}

/** Shows on standard error how far a producing run is: a bar on a terminal, a line now and then elsewhere. */
export class Progress {
  private readonly bar: SingleBar | undefined
  private readonly started = performance.now()
  private written = 0
  private complained = -Infinity
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
    } else if (elapsed - this.written >= LINE_INTERVAL) {
      this.written = elapsed
      const share = fraction === undefined ? '' : `${Math.floor(100 * fraction)}%, `
      this.notice(`${share}${grouped(sent)} records, ${rate}/s`)
    }
  }

  /** A line of its own. */
  notice(line: string): void {
    if (this.options.quiet) return
    // Takes the bar's place; the bar draws itself again below.
    if (this.bar) this.options.stream.write('\r\u001b[K')
    this.options.stream.write(`${line}\n`)
  }

  /** What the Kafka client reports while it tries again. Before the first record the failure itself says it better. */
  kafkaError(message: string): void {
    const elapsed = performance.now() - this.started
    if (this.sent === 0 || elapsed - this.complained < LINE_INTERVAL) return
    this.complained = elapsed
    this.notice(`Kafka: ${message.split('\n')[0]}; trying again`)
  }

  stop(): void {
    this.bar?.stop()
  }
}
