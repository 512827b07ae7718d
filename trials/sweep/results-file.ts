import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { UserError } from '../../src/errors'
import type { Point } from './points'
import type { PointResult } from './run-point'

/** Results of finished points, one JSON line each; a point's last line counts. */
export class ResultsFile {
  private readonly results = new Map<number, PointResult>()

  /** @throws UserError where the file has something else */
  constructor(private readonly file: string) {
    if (!existsSync(file)) return
    // An interrupted write leaves a last line without its end.
    const lines = readFileSync(file, 'utf8').split('\n')
    const cut = lines.pop()
    if (cut) throw new UserError(`${file} does not end with a whole line. Remove its last line, or set OUT.`)
    for (const [index, line] of lines.entries()) this.remember(parse(line, `${file}:${index + 1}`))
  }

  /** The result of exactly this point; undefined also where its number stood for other properties. */
  of(point: Point): PointResult | undefined {
    const known = this.results.get(point.number)
    return known && JSON.stringify(known.point) === JSON.stringify(point) ? known : undefined
  }

  add(result: PointResult): void {
    appendFileSync(this.file, `${JSON.stringify(result)}\n`)
    this.remember(result)
  }

  private remember(result: PointResult): void {
    this.results.set(result.point.number, result)
  }
}

function parse(line: string, where: string): PointResult {
  try {
    const result = JSON.parse(line) as PointResult
    if (typeof result.point.number === 'number') return result
  } catch {
    // Said below.
  }
  throw new UserError(`${where} is not a result of the sweep. Set OUT to another file.`)
}
