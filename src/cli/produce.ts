import { Command, Option } from 'commander'
import { loadKafkaConnection } from '../config'
import { counted, grouped } from '../core/numbers'
import { UserError } from '../errors'
import { parseBrokers } from '../kafka/connection'
import type { Site } from '../sources/access-log'
import { connectClient, produce, type ProduceResult } from '../sources/produce'
import { accessLogSource, ndjsonSource, type Source } from '../sources/source'
import type { TopicState } from '../sources/topic'
import { interruption } from '../terminal/interruption'
import { Progress } from '../terminal/progress'
import { duration, factor, share, site, time, whole } from './options'

interface Flags {
  accessLog?: string
  host?: Site
  ndjson?: string
  speed?: number
  synthetic?: true
  events?: number
  rate?: number
  for?: number
  seed: number
  start?: number
  span: number
  disorder: number
  late: number
  malformed: number
  referrers: number
  topic: string
  brokers: string
  partitions?: number
  quiet?: true
  json?: true
}

const SOURCES = ['--access-log', '--ndjson', '--synthetic']

/** Options that need one of others. */
const ONLY_WITH: Record<string, string[]> = {
  '--host': ['--access-log'],
  '--speed': ['--access-log', '--ndjson'],
  '--events': ['--synthetic'],
  '--rate': ['--synthetic'],
  '--for': ['--rate'],
  '--seed': ['--synthetic'],
  '--start': ['--events'],
  '--span': ['--events'],
  '--disorder': ['--synthetic'],
  '--late': ['--synthetic'],
  '--malformed': ['--synthetic'],
  '--referrers': ['--synthetic'],
}

/** `web-traffic produce`: sends web events from a log, a file or a generator to the topic. */
export function produceCommand(): Command {
  const command = new Command('produce')
    .summary('send web events to the topic, from a log, a file or a generator')
    .description(
      'Send web events to the Kafka topic from an access log, a file of JSON lines, or a generator.',
    )
    .optionsGroup('Sources (pass one):')
    .option(
      '--access-log <file>',
      'Apache or nginx access log in the combined format (- reads standard input)',
    )
    .option(
      '--ndjson <file>',
      'file with one event per line as JSON, sent unchanged (- reads standard input)',
    )
    .option('--synthetic', 'generated traffic: --events in the past, or --rate in real time')
    .optionsGroup('With --access-log or --ndjson:')
    .option('--speed <factor>', 'replay as live traffic, this many times as fast as it happened', factor)
    .optionsGroup('With --access-log:')
    .option(
      '--host <name>',
      'site that the log belongs to, such as www.example.com or https://example.com',
      site,
    )
  addSyntheticOptions(command.optionsGroup('With --synthetic:'))
  return command
    .optionsGroup('Options:')
    .addOption(
      new Option('--topic <name>', 'topic to send to').env('KAFKA_TOPIC').default('web_traffic_topic'),
    )
    .addOption(
      new Option('--brokers <list>', 'brokers as HOST:PORT, separated by commas')
        .env('KAFKA_URL')
        .default('localhost:9092'),
    )
    .option('--partitions <n>', 'create the topic with this many partitions if it is missing', whole(1))
    .option('--quiet', 'print errors only')
    .option('--json', 'print the summary as JSON')
    .action(run)
}

function addSyntheticOptions(command: Command): void {
  const durationOption = (flags: string, description: string, fallback: string) =>
    new Option(flags, description).argParser(duration).default(duration(fallback), fallback)
  command
    .option('--events <n>', 'send this many events, spread over --span', whole(1))
    .option('--rate <n>', 'send this many events per second, until Ctrl-C or --for', whole(1))
    .option('--for <duration>', 'stop --rate after this long, such as 10m', duration)
    .option('--seed <n>', 'the same seed, options and --start produce the same events', whole(0), 1)
    .option('--start <time>', 'event time of the first event (default: now minus --span)', time)
    .addOption(durationOption('--span <duration>', 'event time between the first event and the last', '1h'))
    .addOption(
      durationOption(
        '--disorder <duration>',
        'how far events are out of order; below 1m none is late',
        '20s',
      ),
    )
    .option('--late <share>', 'share of events, 0 to 1, that are 5 to 30 minutes late', share, 0)
    .option('--malformed <share>', 'share of records, 0 to 1, that are not usable events', share, 0)
    .option('--referrers <n>', 'number of distinct referrers', whole(1), 2_000)
}

async function run(flags: Flags, command: Command): Promise<void> {
  checkCombination(flags, command)
  const { topic, partitions, quiet = false } = flags
  const source = await openSource(flags, Date.now())
  const { records, fraction } = source
  const signal = interruption()
  const progress = new Progress({ stream: process.stderr, quiet, ...(fraction && { fraction }) })
  let result: ProduceResult
  try {
    const connection = { ...loadKafkaConnection(), brokers: brokerList(flags.brokers) }
    result = await produce({
      kafka: await connectClient(connection, message => progress.kafkaError(message)),
      topic,
      ...(partitions !== undefined && { partitions }),
      records,
      signal,
      onTopic: state => noteTopic(flags, state, progress),
      onProgress: totals => progress.update(totals),
    })
  } finally {
    progress.stop()
    source.close()
  }
  report(flags, source, result, signal.aborted)
}

function checkCombination(flags: Flags, command: Command): void {
  const passed = new Set(
    command.options
      .filter(option => command.getOptionValueSource(option.attributeName()) === 'cli')
      .map(option => option.long!),
  )
  if (SOURCES.filter(source => passed.has(source)).length !== 1)
    throw new UserError('Pass one source: --access-log FILE, --ndjson FILE or --synthetic.')
  for (const [option, others] of Object.entries(ONLY_WITH))
    if (passed.has(option) && !others.some(other => passed.has(other)))
      throw new UserError(`${option} is for ${others.join(' and ')} only.`)
  if (flags.accessLog !== undefined && !flags.host)
    throw new UserError('Pass --host NAME: an access log does not name its site.')
  if (flags.synthetic && (flags.events === undefined) === (flags.rate === undefined))
    throw new UserError('Pass --events N or --rate N with --synthetic.')
}

async function openSource(flags: Flags, now: number): Promise<Source> {
  if (flags.accessLog !== undefined) return accessLogSource(flags.accessLog, flags.host!, flags.speed)
  if (flags.ndjson !== undefined) return ndjsonSource(flags.ndjson, flags.speed)
  const { historySource, liveSource } = await import('../dev/traffic/source.js')
  const { seed, referrers, disorder, late, malformed, rate, span, events } = flags
  const options = { seed, referrers, disorder, late, malformed }
  if (rate !== undefined)
    return liveSource(options, { rate, ...(flags.for !== undefined && { duration: flags.for }) })
  const start = flags.start ?? now - span
  if (start + span > now)
    throw new UserError('--start plus --span is in the future: pass an earlier start or a shorter span.')
  return historySource(options, { events: events!, start, span, now })
}

function noteTopic(flags: Flags, { partitions, created }: TopicState, progress: Progress): void {
  const withPartitions = `${flags.topic} with ${counted(partitions, 'partition')}`
  if (created) progress.notice(`Created topic ${withPartitions}.`)
  else if (flags.partitions !== undefined && flags.partitions !== partitions)
    progress.notice(`Using the existing topic ${withPartitions}.`)
}

function report(flags: Flags, source: Source, result: ProduceResult, interrupted: boolean): void {
  const { topic, rate } = flags
  const { sent, partitions, seconds } = result
  const malformed = source.knows.malformed ? result.malformed : null
  const late = source.knows.late ? result.late : null
  const recordsPerSecond = Math.round(sent / seconds)
  if (flags.json) {
    const summary = { topic, partitions, sent, malformed, late, seconds, recordsPerSecond, interrupted }
    console.log(JSON.stringify(summary))
  } else if (!flags.quiet) {
    const parts = [malformed && `${grouped(malformed)} malformed`, late && `${grouped(late)} late`]
    const among = parts.filter(Boolean).join(', ')
    console.log(
      `${interrupted ? 'Interrupted: sent' : 'Sent'} ${counted(sent, 'record')}${among && ` (${among})`} to ` +
        `${counted(partitions, 'partition')} of ${topic} in ${seconds.toFixed(1)} s: ` +
        `${grouped(recordsPerSecond)} records/s${rate === undefined ? '' : ` (target ${grouped(rate)})`}`,
    )
  }
}

function brokerList(text: string): string[] {
  const brokers = parseBrokers(text)
  const wrong = brokers.find(broker => !/^\S+:\d{1,5}$/.test(broker))
  if (wrong === undefined) return brokers
  throw new UserError(`"${wrong}" is not a broker address. Write HOST:PORT in --brokers or KAFKA_URL.`)
}
