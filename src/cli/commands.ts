import { Command } from 'commander'

interface CommandEntry {
  /** The heading that lists the command in `--help`. */
  group: string
  /** Imports the command's module on demand: importing all of them costs most of a second of CPU. */
  load: () => Promise<Command>
  /** One run of the command is one trace. */
  traced?: true
  /** Starts servers itself, so it takes no addresses from a running development cluster. */
  ownServers?: true
}

const SETUP = 'Set up:'
const RUN = 'Run:'
const INSPECT = 'Inspect:'
const REPAIR = 'Repair:'
const TRY = 'Try out:'

/** Every command of `web-traffic`, in the order of `--help`. */
export const COMMANDS: Record<string, CommandEntry> = {
  migrate: { group: SETUP, load: async () => (await import('./migrate.js')).migrateCommand() },
  doctor: { group: SETUP, load: async () => (await import('./doctor.js')).doctorCommand() },
  worker: { group: RUN, load: async () => (await import('./worker.js')).workerCommand() },
  start: { group: RUN, load: async () => (await import('./start.js')).startCommand(), traced: true },
  stop: { group: RUN, load: async () => (await import('./start.js')).stopCommand(), traced: true },
  pause: { group: RUN, load: async () => (await import('./start.js')).pauseCommand(), traced: true },
  resume: { group: RUN, load: async () => (await import('./start.js')).resumeCommand(), traced: true },
  scale: { group: RUN, load: async () => (await import('./start.js')).scaleCommand(), traced: true },
  maintain: { group: RUN, load: async () => (await import('./maintain.js')).maintainCommand(), traced: true },
  status: { group: INSPECT, load: async () => (await import('./status.js')).statusCommand() },
  windows: { group: INSPECT, load: async () => (await import('./windows.js')).windowsCommand() },
  late: { group: INSPECT, load: async () => (await import('./late.js')).lateCommand() },
  rejected: { group: INSPECT, load: async () => (await import('./rejected.js')).rejectedCommand() },
  dashboard: { group: INSPECT, load: async () => (await import('./dashboard.js')).dashboardCommand() },
  verify: { group: REPAIR, load: async () => (await import('./verify.js')).verifyCommand(), traced: true },
  replay: { group: REPAIR, load: async () => (await import('./replay.js')).replayCommand(), traced: true },
  repair: { group: REPAIR, load: async () => (await import('./repair.js')).repairCommand(), traced: true },
  retry: { group: REPAIR, load: async () => (await import('./retry.js')).retryCommand(), traced: true },
  recover: { group: REPAIR, load: async () => (await import('./recover.js')).recoverCommand(), traced: true },
  'accept-log': {
    group: REPAIR,
    load: async () => (await import('./accept-log.js')).acceptLogCommand(),
    traced: true,
  },
  produce: { group: TRY, load: async () => (await import('./produce.js')).produceCommand() },
  demo: {
    group: TRY,
    load: async () => (await import('../dev/demo-command.js')).demoCommand(),
    ownServers: true,
  },
  cluster: {
    group: TRY,
    load: async () => (await import('../dev/cluster-command.js')).clusterCommand(),
    ownServers: true,
  },
}

/** The command line with the given commands; all of them by default. */
export async function commandLine(entries = Object.values(COMMANDS)): Promise<Command> {
  const program = new Command('web-traffic')
    .usage('COMMAND [options]')
    .description(
      'Count web events from Kafka in event-time windows with Temporal workflows, and write each result to Postgres ' +
        'exactly once.',
    )
    .addHelpText(
      'after',
      '\nSettings come from the environment and from the file stream.env in the current folder.',
    )
    .configureHelp({ subcommandTerm: command => command.name() })
    .addHelpCommand(
      new Command('help').argument('[command]').summary('show the help of a command').helpGroup('Help:'),
    )
    .showHelpAfterError('(add --help for the options)')
  const commands = await Promise.all(entries.map(({ load }) => load()))
  entries.forEach(({ group }, index) => program.addCommand(commands[index]!.helpGroup(group)))
  return program
}
