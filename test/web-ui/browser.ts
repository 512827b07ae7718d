import { chromium, type Browser } from 'playwright-core'
import { findOnPath } from '../../src/dev/cluster/command'

/** Names that distributions give it. */
const ON_THE_PATH = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** A Chromium without a window: that of `CHROMIUM`, one on the PATH, or the one that npm brings along. */
export async function openBrowser(): Promise<Browser> {
  const executablePath = process.env.CHROMIUM ?? onPath() ?? (await fromNpm())
  return chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu'] })
}

function onPath(): string | undefined {
  for (const name of ON_THE_PATH) {
    const file = findOnPath(name, process.env)
    if (file !== undefined) return file
  }
  return undefined
}

async function fromNpm(): Promise<string> {
  const { default: packed } = await import('@sparticuz/chromium')
  return packed.executablePath()
}
