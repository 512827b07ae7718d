import { Command } from 'commander'
import { loadConfig } from '../config'
import type { IngestStatus } from '../contract/messages'
import { counted } from '../core/numbers'
import { UserError } from '../errors'
import { PipelineClient } from '../pipeline/pipeline-client'
import { startPipeline } from '../pipeline/start'
import { withTemporal } from '../temporal/connection'
import { whole } from './options'

const pollers = whole(1, 9_999)

export function startCommand(): Command {
  return new Command('start')
    .summary('start or resume the pipeline')
    .description('Start the pipeline, or resume it after "stop" or "pause".')
    .option('--pollers <n>', 'number of pollers that read the topic (default: POLLERS)', pollers)
    .option(
      '--from <position>',
      'where a new pipeline begins: earliest, latest, or a time such as 2026-01-31T12:00:00Z',
      'earliest',
    )
    .option(
      '--accept-compaction',
      'read a compacted topic; records that Kafka removed before they were read count as rejected',
    )
    .action(async (options: { pollers?: number; from: string; acceptCompaction?: true }) => {
      const config = loadConfig()
      const { pollers: wanted = config.pollers, from, acceptCompaction } = options
      console.log(await startPipeline(config, wanted, from, acceptCompaction))
    })
}

export function stopCommand(): Command {
  return new Command('stop')
    .summary('drain the pollers and stop reading')
    .description('Drain the pollers and stop reading. Open windows stay open and resume at the next "start".')
    .action(() =>
      withRunning(async (pipeline, { settings: { group }, ledger }) => {
        await pipeline.stop()
        return `Stopped "${group}" with ${counted(ledger.openWindows.length, 'open window')}. Resume with "web-traffic start".`
      }),
    )
}

export function pauseCommand(): Command {
  return new Command('pause')
    .summary('stop reading until "resume"')
    .description(
      'Drain the pollers and stop reading until "resume". Windows that every partition has passed still close; the others wait for "resume".',
    )
    .action(() =>
      withRunning(async (pipeline, { settings: { group } }) => {
        await pipeline.pause()
        return `Paused "${group}". Resume with "web-traffic resume".`
      }),
    )
}

export function resumeCommand(): Command {
  return new Command('resume')
    .summary('resume reading after "pause"')
    .description('Resume reading after "pause", with as many pollers as before.')
    .action(() =>
      withRunning(async (pipeline, { settings: { group } }) => {
        const pollers = await pipeline.resume()
        if (pollers === 0)
          throw new UserError(`"${group}" was stopped, not paused. Resume it with "web-traffic start".`)
        return `Resumed "${group}" with ${counted(pollers, 'poller')}.`
      }),
    )
}

export function scaleCommand(): Command {
  return new Command('scale')
    .summary('change the number of pollers')
    .description('Change the number of pollers that read the topic. Each poller needs a worker process.')
    .argument('<pollers>', 'number of pollers', pollers)
    .action((pollers: number) =>
      withRunning(async (pipeline, { settings: { group } }) => {
        await pipeline.scale(pollers)
        return `Scaled "${group}" to ${counted(pollers, 'poller')}.`
      }),
    )
}

/** Runs `use` with the configured pipeline, and prints the line it returns. */
async function withRunning(
  use: (pipeline: PipelineClient, status: IngestStatus) => Promise<string>,
): Promise<void> {
  const config = loadConfig()
  await withTemporal(async client => {
    const pipeline = new PipelineClient(client, config)
    console.log(await use(pipeline, await pipeline.requireStatus()))
  })
}
