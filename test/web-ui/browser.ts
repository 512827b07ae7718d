import { chromium, type Browser } from 'playwright-core'
import { findOnPath } from '../../src/dev/cluster/command'

/** Chromium's program names in various distributions. */
const PROGRAM_NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** A headless Chromium: the program in `CHROMIUM`, one on the PATH, or the one from npm. */
export async function openBrowser(): Promise<Browser> {
  const executablePath = process.env.CHROMIUM ?? onPath() ?? (await fromNpm())
  return chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu'] })
}

function onPath(): string | undefined {
  for (const name of PROGRAM_NAMES) {
    const file = findOnPath(name, process.env)
    if (file !== undefined) return file
  }
  return undefined
}

async function fromNpm(): Promise<string> {
  const { default: packed } = await import('@sparticuz/chromium')
  return packed.executablePath()
}
