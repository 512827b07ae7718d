/** One sample of Prometheus's text format. */
export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

/** The answer of `GET /metrics`. */
export class Scrape {
  readonly samples: Sample[]
  /** By metric name. */
  readonly types: Map<string, string>

  constructor(readonly text: string) {
    this.samples = text
      .split('\n')
      .filter(line => line !== '' && !line.startsWith('#'))
      .map(parseSample)
    const types = text.matchAll(/^# TYPE (\S+) (\S+)$/gm)
    this.types = new Map(Array.from(types, ([, name, type]) => [name!, type!]))
  }

  static async of(address: string): Promise<Scrape> {
    const response = await fetch(`http://${address}/metrics`)
    if (!response.ok) throw new Error(`${address} answers ${response.status}`)
    return new Scrape(await response.text())
  }

  /** Sum of the samples with these labels, and any others; undefined if there are none. */
  sum(name: string, labels: Record<string, string> = {}): number | undefined {
    const found = this.samples.filter(
      sample =>
        sample.name === name &&
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    )
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0)
  }
}

function parseSample(line: string): Sample {
  const [, name = '', labels = '', value = ''] = /^([\w:]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
  const pairs = labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)
  return {
    name,
    labels: Object.fromEntries(Array.from(pairs, ([, label, text]) => [label!, text!])),
    value: Number(value),
  }
}
