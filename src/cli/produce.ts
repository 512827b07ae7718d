import { Command, Option } from 'commander'
import { Kafka, logLevel } from 'kafkajs'
import { loadKafkaConnection } from '../config'
import { withAdmin } from '../kafka/client'
import { kafkajsConnection, parseBrokers, type KafkaConnection } from '../kafka/connection'
import type { Site } from '../sources/access-log'
import { type ProduceResult, produce } from '../sources/produce'
import { Progress } from '../terminal/progress'
import { accessLogSource, ndjsonSource, type Source } from '../sources/source'
import { UserError } from '../errors'
import { duration, factor, instant, share, site, whole } from './options'
import { counted, grouped } from '../core/numbers'

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

/** `web-traffic produce`: sends web events from a log, a file or a generator to the topic. */
export function produceCommand(): Command {
  return new Command('produce')
    .description('Send web events to the Kafka topic, from a log, a file or a generator')
    .optionsGroup('Sources (one of them):')
    .option('--access-log <file>', 'a combined access log of Apache or nginx; - reads standard input')
    .option(
      '--ndjson <file>',
      'a file of events, one JSON object a line, sent as they are; - reads standard input',
    )
    .option('--synthetic', 'invented traffic: --events of the past, or --rate as it happens')
    .optionsGroup('With --access-log or --ndjson:')
    .option(
      '--speed <x>',
      'live, x times as fast as it happened: the event time becomes the moment of sending',
      factor,
    )
    .optionsGroup('With --access-log:')
    .option('--host <name>', 'the site of the log, as it names none; with https:// if it is so', site)
    .optionsGroup('With --synthetic:')
    .option('--events <n>', 'send so many, spread over --span', whole(1))
    .option('--rate <n>', 'send so many a second, until Ctrl-C or --for', whole(1))
    .option('--for <duration>', 'how long --rate goes on, such as 10m', duration)
    .option('--seed <n>', 'the same seed, options and --start give the same events', whole(0), 1)
    .option('--start <time>', 'event time of the first event (default: now minus --span)', instant)
    .addOption(durationOption('--span <duration>', 'event time from the first event to the last', '1h'))
    .addOption(
      durationOption(
        '--disorder <duration>',
        'how far out of order events are; under 1m none is late',
        '20s',
      ),
    )
    .option('--late <share>', 'share (0 to 1) of events that are late, by 5 to 30 minutes', share, 0)
    .option('--malformed <share>', 'share (0 to 1) of records that are no usable event', share, 0)
    .option('--referrers <n>', 'number of distinct referrers', whole(1), 2_000)
    .optionsGroup('Options:')
    .addOption(topicOption())
    .addOption(brokersOption())
    .option('--partitions <n>', 'create the topic with so many partitions if it is missing', whole(1))
    .option('--quiet', 'print errors only')
    .option('--json', 'print the summary as JSON')
    .action((flags: Flags, command: Command) => run(flags, command))
}

const durationOption = (flags: string, description: string, fallback: string) =>
  new Option(flags, description).argParser(duration).default(duration(fallback), fallback)

const topicOption = () =>
  new Option('--topic <name>', 'topic to send to').env('KAFKA_TOPIC').default('web_traffic_topic')

const brokersOption = () =>
  new Option('--brokers <list>', 'HOST:PORT, several separated by commas')
    .env('KAFKA_URL')
    .default('localhost:9092')

async function run(flags: Flags, command: Command): Promise<void> {
  checkCombination(flags, command)
  const source = await openSource(flags, Date.now())
  const interruption = new AbortController()
  const interrupt = () => interruption.abort()
  // Once: a second Ctrl-C ends the process at once.
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  const { fraction } = source
  let progress: Progress | undefined
  try {
    const kafka = await connect({ ...loadKafkaConnection(), brokers: brokerList(flags.brokers) }, message =>
      progress?.kafkaError(message),
    )
    const result = await produce({
      kafka,
      topic: flags.topic,
      ...(flags.partitions !== undefined && { partitions: flags.partitions }),
      records: source.records,
      signal: interruption.signal,
      onTopic: ({ partitions, created }) => {
        progress = new Progress({
          stream: process.stderr,
          quiet: flags.quiet ?? false,
          ...(fraction && { fraction }),
        })
        if (created) progress.notice(`Created topic ${flags.topic} with ${counted(partitions, 'partition')}.`)
        else if (flags.partitions !== undefined && flags.partitions !== partitions) {
          progress.notice(
            `Topic ${flags.topic} exists with ${counted(partitions, 'partition')}; using it as it is.`,
          )
        }
      },
      onProgress: totals => progress?.update(totals),
    })
    progress?.stop()
    report(flags, source, result, interruption.signal.aborted)
  } finally {
    progress?.stop()
    source.close()
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

/**
 * A client of the brokers, given that one of them answers now. It is patient with a broker that goes away
 * later, for about a minute.
 *
 * @param onError what the client reports when it tries something again, one line each
 * @throws UserError where none answers, or none lets it in
 */
async function connect(connection: KafkaConnection, onError: (message: string) => void): Promise<Kafka> {
  await withAdmin(connection, () => Promise.resolve())
  return new Kafka({
    clientId: 'web-traffic-produce',
    ...kafkajsConnection(connection),
    retry: { retries: 20, maxRetryTime: 3_000 },
    logLevel: logLevel.ERROR,
    logCreator: () => entry => onError(entry.log.message),
  })
}

const ONLY_SYNTHETIC = [
  'events',
  'rate',
  'for',
  'seed',
  'start',
  'span',
  'disorder',
  'late',
  'malformed',
  'referrers',
]
const ONLY_HISTORY = ['start', 'span']

function checkCombination(flags: Flags, command: Command): void {
  const given = (name: string) => command.getOptionValueSource(name) === 'cli'
  const refuse = (names: string[], unless: string) => {
    const misplaced = names.find(given)
    if (misplaced !== undefined) throw new UserError(`--${misplaced} is for ${unless} only.`)
  }
  const sources = [flags.accessLog, flags.ndjson, flags.synthetic].filter(source => source !== undefined)
  if (sources.length !== 1)
    throw new UserError('Pass one source: --access-log FILE, --ndjson FILE or --synthetic.')
  if (flags.accessLog === undefined) refuse(['host'], '--access-log')
  else if (!flags.host)
    throw new UserError('Pass --host NAME: an access log does not say which site it is of.')
  if (!flags.synthetic) return refuse(ONLY_SYNTHETIC, '--synthetic')
  refuse(['speed'], '--access-log and --ndjson')
  if ((flags.events === undefined) === (flags.rate === undefined)) {
    throw new UserError('Pass --events N or --rate N with --synthetic.')
  }
  if (flags.rate === undefined) refuse(['for'], '--rate')
  else refuse(ONLY_HISTORY, '--events')
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
    throw new UserError('--start plus --span is in the future: pass an earlier or shorter one.')
  return historySource(options, { events: events!, start, span, now })
}

function report(flags: Flags, source: Source, result: ProduceResult, interrupted: boolean): void {
  const { sent, partitions, seconds } = result
  const malformed = source.knows.malformed ? result.malformed : null
  const late = source.knows.late ? result.late : null
  const recordsPerSecond = Math.round(sent / seconds)
  if (flags.json) {
    const summary = {
      topic: flags.topic,
      partitions,
      sent,
      malformed,
      late,
      seconds,
      recordsPerSecond,
      interrupted,
    }
    process.stdout.write(`${JSON.stringify(summary)}\n`)
  } else if (!flags.quiet) {
    const among = [malformed && `${grouped(malformed)} malformed`, late && `${grouped(late)} late`].filter(
      Boolean,
    )
    const asked = flags.rate === undefined ? '' : ` of ${grouped(flags.rate)} asked for`
    process.stdout.write(
      `${interrupted ? 'Interrupted: sent' : 'Sent'} ${counted(sent, 'record')}` +
        `${among.length > 0 ? ` (${among.join(', ')})` : ''} to ${counted(partitions, 'partition')} of ${flags.topic}` +
        ` in ${seconds.toFixed(1)} s: ${grouped(recordsPerSecond)} records/s${asked}\n`,
    )
  }
}

function brokerList(text: string): string[] {
  const brokers = parseBrokers(text)
  const wrong = brokers.find(broker => !/^\S+:\d{1,5}$/.test(broker))
  if (wrong === undefined) return brokers
  throw new UserError(`"${wrong}" is no broker address: write HOST:PORT in --brokers or KAFKA_URL.`)
}
