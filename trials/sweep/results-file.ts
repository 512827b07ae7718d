import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { UserError } from '../../src/errors'
import type { Point } from './points'
import type { PointResult } from './result'

/** Results of finished points, one JSON line each. If a point has several lines, the last one counts. */
export class ResultsFile {
  private readonly results = new Map<number, PointResult>()

  /** @throws UserError if the file exists and is not a results file */
  constructor(private readonly file: string) {
    if (!existsSync(file)) return
    // An interrupted write leaves an incomplete last line.
    const lines = readFileSync(file, 'utf8').split('\n')
    const incomplete = lines.pop()
    if (incomplete)
      throw new UserError(
        `The last line of ${file} is incomplete. Remove the line, or set OUT to another file.`,
      )
    for (const [index, line] of lines.entries()) this.remember(parse(line, `${file}:${index + 1}`))
  }

  /** The result of a point; undefined also if the file has its number with other properties. */
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
    // The error below covers this too.
  }
  throw new UserError(`${where} is not a result of the sweep. Set OUT to another file.`)
}
