import { Command, Option } from 'commander'
import { loadConfig } from '../config'
import { logger } from '../log'
import { interruption } from '../terminal/interruption'
import { ROLES, type Role } from '../workers/roles'

export function workerCommand(): Command {
  return new Command('worker')
    .summary('run the workflows and activities until SIGTERM or Ctrl-C')
    .description(
      'Run the workflows and activities of the pipeline. On SIGTERM or Ctrl-C the worker flushes its counts, commits, ' +
        'leaves the consumer group, and exits.',
    )
    .addOption(
      new Option(
        '--role <role>',
        'what this process runs: pollers read Kafka, windows run the workflows and write to Postgres, all does both',
      )
        .choices(ROLES)
        .default('all'),
    )
    .action(async ({ role }: { role: Role }) => {
      const config = loadConfig()
      const { taskQueue } = config
      const signal = interruption()
      // A parent process that is killed cannot send SIGTERM, but its IPC channel closes.
      if (process.connected) process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
      process.channel?.unref()
      // Loading this module takes longer than most commands run.
      const { runWorker } = await import('../workers/worker.js')
      await runWorker(config, role, signal, () => logger.info({ taskQueue, role }, 'the worker is ready'))
      logger.info('the worker has stopped')
    })
}
