import type { Command } from 'commander'

interface CommandEntry {
  /** Loads the command's module only when it is asked for: all of them together cost most of a second of CPU. */
  load: () => Promise<Command>
  /** Whether one run of it is a trace of everything that it causes. */
  traced?: true
  /** Starts servers itself: an address in the environment means a server to use instead. */
  ownServers?: true
}

/** Every command of `web-traffic`, in the order of `--help`. */
export const COMMANDS: Record<string, CommandEntry> = {
  cluster: {
    load: async () => (await import('../dev/cluster-command.js')).clusterCommand(),
    ownServers: true,
  },
  migrate: { load: async () => (await import('./migrate.js')).migrateCommand() },
  worker: { load: async () => (await import('./worker.js')).workerCommand() },
  start: { load: async () => (await import('./start.js')).startCommand(), traced: true },
  stop: { load: async () => (await import('./start.js')).stopCommand(), traced: true },
  pause: { load: async () => (await import('./start.js')).pauseCommand(), traced: true },
  resume: { load: async () => (await import('./start.js')).resumeCommand(), traced: true },
  scale: { load: async () => (await import('./start.js')).scaleCommand(), traced: true },
  status: { load: async () => (await import('./status.js')).statusCommand() },
  windows: { load: async () => (await import('./windows.js')).windowsCommand() },
  late: { load: async () => (await import('./late.js')).lateCommand() },
  rejected: { load: async () => (await import('./rejected.js')).rejectedCommand() },
  verify: { load: async () => (await import('./verify.js')).verifyCommand(), traced: true },
  replay: { load: async () => (await import('./replay.js')).replayCommand(), traced: true },
  repair: { load: async () => (await import('./repair.js')).repairCommand(), traced: true },
  recover: { load: async () => (await import('./recover.js')).recoverCommand(), traced: true },
  retry: { load: async () => (await import('./retry.js')).retryCommand(), traced: true },
  'accept-log': { load: async () => (await import('./accept-log.js')).acceptLogCommand(), traced: true },
  maintain: { load: async () => (await import('./maintain.js')).maintainCommand(), traced: true },
  dashboard: { load: async () => (await import('./dashboard.js')).dashboardCommand() },
  produce: { load: async () => (await import('./produce.js')).produceCommand() },
  doctor: { load: async () => (await import('./doctor.js')).doctorCommand() },
  demo: { load: async () => (await import('../dev/demo-command.js')).demoCommand(), ownServers: true },
}
