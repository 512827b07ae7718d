import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { program } from '../../src/dev/program'
import { anyFreePort } from '../../src/dev/cluster/ports'

/** The dashboard in its own process, as a user starts it. */
export class DashboardProcess {
  readonly errors: string[] = []

  private constructor(
    private readonly process: ChildProcess,
    readonly address: string,
  ) {}

  static async start(environment: Record<string, string>, ...args: string[]): Promise<DashboardProcess> {
    const port = await anyFreePort()
    const child = spawn(process.execPath, [program, 'dashboard', '--port', String(port), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...(process.env as Record<string, string>), LOG_LEVEL: 'error', ...environment },
    })
    for await (const line of createInterface(child.stdout)) {
      const address = /http:\/\/127\.0\.0\.1:\d+\//.exec(line)?.[0]
      if (address !== undefined) return new DashboardProcess(child, address)
    }
    throw new Error('the dashboard exited before it printed its address')
  }

  get runs(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  /** Sends SIGTERM; returns the exit code. */
  async end(): Promise<number | null> {
    if (!this.runs) return this.process.exitCode
    const exited = once(this.process, 'exit') as Promise<[number | null]>
    this.process.kill('SIGTERM')
    return (await exited)[0]
  }
}

/** A page that records violations: errors, breaches of the content security policy, foreign requests, dialogs. */
export class WatchedPage {
  readonly violations: string[] = []

  private constructor(readonly page: Page) {}

  static async open(
    browser: Browser,
    address: string,
    { language, ...options }: BrowserContextOptions & { language?: string } = {},
  ): Promise<WatchedPage> {
    const viewport = { width: 1300, height: 950 }
    const page = await browser.newPage({ viewport, locale: 'en-US', ...options })
    const watched = new WatchedPage(page)
    const record = (kind: string, what: string) => void watched.violations.push(`${kind}: ${what}`)
    page.on('pageerror', error => record('error', error.message))
    page.on('dialog', dialog => {
      record('dialog', dialog.message())
      void dialog.dismiss()
    })
    page.on('request', request => {
      if (!request.url().startsWith(address)) record('request', request.url())
    })
    await page.exposeFunction('recordViolation', (what: string) => record('violation', what))
    await page.addInitScript(
      `addEventListener('securitypolicyviolation', e => recordViolation(e.violatedDirective + ' ' + e.blockedURI))`,
    )
    if (language !== undefined)
      await page.addInitScript(
        `Object.defineProperty(Navigator.prototype, 'language', { get: () => ${JSON.stringify(language)} })`,
      )
    await page.goto(address)
    return watched
  }

  /** The texts of a table's cells, row by row. */
  async rows(table: string): Promise<string[][]> {
    const rows = await this.page.locator(`${table} tbody tr`).all()
    return Promise.all(rows.map(row => row.locator('th, td').allInnerTexts()))
  }

  text(selector: string): Promise<string> {
    return this.page.locator(selector).innerText()
  }

  /** Presses Tab until an element that matches the selector has the focus. */
  async tabTo(selector: string): Promise<void> {
    for (let presses = 0; presses < 80; presses++) {
      await this.page.keyboard.press('Tab')
      if (await this.page.evaluate<boolean>(`document.activeElement.matches(${JSON.stringify(selector)})`))
        return
    }
    throw new Error(`Tab does not reach ${selector}`)
  }

  get query(): URLSearchParams {
    return new URL(this.page.url()).searchParams
  }

  close(): Promise<void> {
    return this.page.context().close()
  }
}

export const figure = (text: string) => Number(text.replaceAll(',', ''))
