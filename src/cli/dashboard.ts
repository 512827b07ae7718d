import { once } from 'node:events'
import { Command, Option } from 'commander'
import { loadConfig } from '../config'
import { Dashboard } from '../dashboard/server'
import { temporalConfig } from '../temporal/connection'
import { interruption } from '../terminal/interruption'
import { port, webAddress } from './options'

export function dashboardCommand(): Command {
  return new Command('dashboard')
    .summary('serve a live page with the traffic and the state of the pipeline')
    .description(
      'Serve a page with the traffic by host, referrer and country, the open windows, and the lag of every partition, ' +
        'updated live. It listens on the loopback address only.',
    )
    .option('--port <n>', 'port to listen on (default: 8080, or any free port if that is taken)', port)
    .addOption(
      new Option('--web-ui <url>', 'Temporal Web UI that windows link to')
        .env('TEMPORAL_UI_URL')
        .argParser(webAddress),
    )
    .action(async (flags: { port?: number; webUi?: string }) => {
      const signal = interruption()
      const { namespace } = temporalConfig()
      const dashboard = new Dashboard(loadConfig(), { port: flags.port, webUi: flags.webUi, namespace })
      console.log(`Dashboard: ${await dashboard.start()} (press Ctrl-C to stop)`)
      if (!signal.aborted) await once(signal, 'abort')
      await dashboard.end()
    })
}
