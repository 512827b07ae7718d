import { Command, Option } from 'commander'
import { loadConfig } from '../config'
import { logger } from '../log'
import { ROLES, type Role } from '../workers/roles'
import { interruption } from '../terminal/interruption'

export function workerCommand(): Command {
  return new Command('worker')
    .description('run the workflows and activities of the pipeline until SIGTERM or Ctrl-C, then drain')
    .addOption(
      new Option(
        '--role <role>',
        'what this process runs: pollers read Kafka, windows run the workflows and write to Postgres, all is both',
      )
        .choices(ROLES)
        .default('all'),
    )
    .action(async ({ role }: { role: Role }) => {
      const config = loadConfig()
      const { taskQueue } = config
      const signal = interruption()
      // Started by another program over IPC, it drains when that one ends, however it ended.
      if (process.connected) process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
      process.channel?.unref()
      // Loaded only here: it takes longer than most commands run.
      const { runWorker } = await import('../workers/worker.js')
      await runWorker(config, role, signal, () => logger.info({ taskQueue, role }, 'the worker is ready'))
      logger.info('the worker has stopped')
    })
}
