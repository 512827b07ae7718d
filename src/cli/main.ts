import { Command } from 'commander'
import { clusterEnvironment } from '../dev/cluster'
import { completeEnvironment } from '../config'
import { acceptLogCommand } from './accept-log'
import { clusterCommand } from './cluster'
import { dashboardCommand } from './dashboard'
import { demoCommand } from './demo'
import { doctorCommand } from './doctor'
import { UserError } from '../errors'
import { lateCommand } from './late'
import { maintainCommand } from './maintain'
import { migrateCommand } from './migrate'
import { produceCommand } from './produce'
import { recoverCommand } from './recover'
import { rejectedCommand } from './rejected'
import { repairCommand } from './repair'
import { replayCommand } from './replay'
import { retryCommand } from './retry'
import { pauseCommand, resumeCommand, scaleCommand, startCommand, stopCommand } from './start'
import { statusCommand } from './status'
import { beginTracing, endTracing, traced } from '../telemetry/tracing'
import { verifyCommand } from './verify'
import { windowsCommand } from './windows'
import { workerCommand } from './worker'

/** These start servers themselves; an address in the environment would mean a server to use instead. */
const WITHOUT_SURROUNDINGS = new Set(['cluster', 'demo'])

if (!WITHOUT_SURROUNDINGS.has(process.argv[2] ?? ''))
  completeEnvironment(() => clusterEnvironment(process.env.WEB_TRAFFIC_CLUSTER_DIR ?? '.cluster'))

const program = new Command('web-traffic')
  .description(
    'Web events from Kafka, counted per event-time window by Temporal workflows, written once to Postgres',
  )
  .showHelpAfterError('(add --help for the options)')

for (const command of [
  clusterCommand(),
  migrateCommand(),
  workerCommand(),
  startCommand(),
  stopCommand(),
  pauseCommand(),
  resumeCommand(),
  scaleCommand(),
  statusCommand(),
  windowsCommand(),
  lateCommand(),
  rejectedCommand(),
  verifyCommand(),
  replayCommand(),
  repairCommand(),
  recoverCommand(),
  retryCommand(),
  acceptLogCommand(),
  maintainCommand(),
  dashboardCommand(),
  produceCommand(),
  doctorCommand(),
  demoCommand(),
])
  program.addCommand(command)

/** Of these each run is a trace, of all that it causes; a worker traces what it does. */
const TRACED = new Set([
  'start',
  'stop',
  'pause',
  'resume',
  'scale',
  'verify',
  'replay',
  'repair',
  'recover',
  'retry',
  'accept-log',
  'maintain',
])

async function main(command = process.argv[2] ?? ''): Promise<void> {
  if (!TRACED.has(command) && command !== 'worker') {
    await program.parseAsync()
    return
  }
  await beginTracing()
  if (TRACED.has(command)) await traced(`web-traffic ${command}`, () => program.parseAsync())
  else await program.parseAsync()
  // What still tries to deliver spans is not waited for.
  if (!(await endTracing())) process.exit()
}

main().catch(async (error: unknown) => {
  // What a person can mend is one line; anything else is a defect and shows where it came from.
  console.error(error instanceof UserError ? error.message : error)
  await endTracing()
  // At once: an activity that was given up on may still be trying.
  process.exit(1)
})
