import { Command } from 'commander'
import { withTemporal } from '../temporal/connection'
import { loadConfig } from '../config'
import { UserError } from '../errors'
import type { IngestStatus } from '../contract/messages'
import { PipelineClient } from '../pipeline/pipeline-client'
import { startPipeline } from '../pipeline/start'
import { wholeNumber } from './options'
import { counted } from '../core/numbers'

export function startCommand(): Command {
  return new Command('start')
    .description('start the pipeline, or let it go on after a stop')
    .option('--pollers <n>', 'how many pollers read the topic (default: POLLERS, or 1)', wholeNumber)
    .option(
      '--from <position>',
      'where a new pipeline begins: earliest, latest, or a time such as 2026-01-31T12:00:00Z',
      'earliest',
    )
    .action(async (options: { pollers?: number; from: string }) => {
      const config = loadConfig()
      console.log(await startPipeline(config, options.pollers ?? config.pollers, options.from))
    })
}

export function stopCommand(): Command {
  return new Command('stop')
    .description('drain the pollers and stop reading; open windows stay open and go on at the next start')
    .action(() =>
      withRunning(async (pipeline, status) => {
        await pipeline.stop()
        const open = status.ledger.openWindows.length
        return `Stopped "${status.settings.group}"; ${counted(open, 'open window')} resume at the next start.`
      }),
    )
}

export function pauseCommand(): Command {
  return new Command('pause')
    .description(
      'drain the pollers and stop reading, until "resume" brings as many back; windows that are over still close',
    )
    .action(() =>
      withRunning(async (pipeline, { settings: { group } }) => {
        await pipeline.pause()
        return `Paused "${group}"; "web-traffic resume" lets it go on.`
      }),
    )
}

export function resumeCommand(): Command {
  return new Command('resume')
    .description('let a pipeline that was paused go on with as many pollers as before')
    .action(() =>
      withRunning(async (pipeline, { settings: { group } }) => {
        const pollers = await pipeline.resume()
        if (pollers === 0)
          throw new UserError(`"${group}" was stopped, not paused: let it go on with "web-traffic start".`)
        return `"${group}" goes on from where it was, with ${counted(pollers, 'poller')}.`
      }),
    )
}

export function scaleCommand(): Command {
  return new Command('scale')
    .description('read with so many pollers from now on; each needs a worker process')
    .argument('<pollers>', 'how many', wholeNumber)
    .action((pollers: number) =>
      withRunning(async (pipeline, { settings: { group } }) => {
        await pipeline.scale(pollers)
        return `"${group}" has ${counted(pollers, 'poller')} from now on.`
      }),
    )
}

/** Runs `use` with the configured pipeline, and prints what it did. */
async function withRunning(
  use: (pipeline: PipelineClient, status: IngestStatus) => Promise<string>,
): Promise<void> {
  const config = loadConfig()
  await withTemporal(async client => {
    const pipeline = new PipelineClient(client, config)
    console.log(await use(pipeline, await pipeline.requireStatus()))
  })
}
