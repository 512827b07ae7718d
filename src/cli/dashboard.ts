import { once } from 'node:events'
import { Command, InvalidArgumentError, Option } from 'commander'
import { loadConfig } from '../config'
import { Dashboard } from '../dashboard/server'
import { temporalConfig } from '../temporal/connection'
import { interruption } from '../terminal/interruption'

interface Flags {
  port?: number
  webUi?: string
}

export function dashboardCommand(): Command {
  return new Command('dashboard')
    .description('a page in the browser: traffic by host, referrer and country, open windows, lag, live')
    .option('--port <n>', 'on this port of the loopback address; 8080, or a free one, if none is given', port)
    .addOption(
      new Option('--web-ui <url>', 'the Temporal Web UI that windows link to')
        .env('TEMPORAL_UI_URL')
        .argParser(webUi),
    )
    .action(async (flags: Flags) => {
      const signal = interruption()
      const { namespace } = temporalConfig()
      const dashboard = new Dashboard(loadConfig(), { port: flags.port, webUi: flags.webUi, namespace })
      console.log(`Dashboard: ${await dashboard.start()} (Ctrl-C ends it)`)
      if (!signal.aborted) await once(signal, 'abort')
      await dashboard.end()
    })
}

function port(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535) return Number(text)
  throw new InvalidArgumentError('It is no port from 1 to 65535.')
}

function webUi(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text
  throw new InvalidArgumentError('It is no address such as http://localhost:8233.')
}
