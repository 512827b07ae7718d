import { z } from 'zod'
import { environmentSchema } from '../../src/environment'
import { code, groupBy, NOTICE, table } from './markdown'

interface Variable {
  name: string
  group: string
  /** A phrase in Markdown. */
  description: string
  default?: string
  fallback?: string
  see?: string
}

/** Variables that libraries read, not this project. */
const OF_LIBRARIES: Variable[] = [
  {
    name: 'TEMPORAL_ADDRESS',
    group: 'Temporal',
    description: 'server as `HOST:PORT`',
    default: 'localhost:7233',
  },
  { name: 'TEMPORAL_NAMESPACE', group: 'Temporal', description: 'namespace', default: 'default' },
  { name: 'TEMPORAL_API_KEY', group: 'Temporal', description: 'API key of Temporal Cloud' },
  {
    name: 'TEMPORAL_UI_URL',
    group: 'Temporal',
    description: 'address of the Web UI, for links from `status` and the dashboard',
  },
  {
    name: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    group: 'Traces',
    description: 'where to send spans, such as `http://localhost:4318`',
    see: 'tracing',
  },
  {
    name: 'OTEL_EXPORTER_OTLP_HEADERS',
    group: 'Traces',
    description: 'headers that the receiver requires, as `NAME=VALUE`, separated by commas',
  },
  {
    name: 'OTEL_SERVICE_NAME',
    group: 'Traces',
    description: 'service name of the spans',
    default: 'web-traffic',
  },
  {
    name: 'OTEL_TRACES_SAMPLER',
    group: 'Traces',
    description:
      'which traces to send; `parentbased_traceidratio` with `OTEL_TRACES_SAMPLER_ARG=0.1` sends a tenth',
    default: 'parentbased_always_on',
  },
]

/** What to know about a group, in Markdown. */
const NOTES: Record<string, string> = {
  Counting:
    'Fixed once a pipeline has started. To change them, start another pipeline with its own `KAFKA_GROUP` and database.',
  Traces: "OpenTelemetry's own variables, of which there are more.",
  Temporal:
    "Temporal's [own settings](https://docs.temporal.io/references/client-environment-configuration); `TEMPORAL_TLS_*` and " +
    '`TEMPORAL_PROFILE` work too.',
}

const DURATIONS = 'Write durations as `500ms`, `10s`, `5m`, `1h` or `400d`.'

function variables(): [group: string, variables: Variable[]][] {
  const { properties = {} } = z.toJSONSchema(environmentSchema, { io: 'input', unrepresentable: 'any' })
  const own = Object.entries(properties).map(([name, about]) => ({ name, ...(about as object) }) as Variable)
  return groupBy([...own, ...OF_LIBRARIES], ({ group }) => group)
}

const valueOf = ({ default: value, fallback = '' }: Variable) => value ?? fallback

/** docs/configuration.md: every variable by group. */
export function configurationDocument(): string {
  const sections = variables().flatMap(([group, members]) => [
    `## ${group}`,
    ...(NOTES[group] === undefined ? [] : [NOTES[group]]),
    table(
      ['variable', 'default', 'meaning'],
      members.map(variable => [
        code(variable.name),
        valueOf(variable) && code(valueOf(variable)),
        variable.description + (variable.see ? `: [${variable.see}.md](${variable.see}.md)` : ''),
      ]),
    ),
  ])
  return [
    '# Configuration',
    NOTICE('src/environment.ts'),
    'Set variables in the environment, or in a file `stream.env` in the current folder ' +
      `([\`stream.env.example\`](../stream.env.example) is a template). ${DURATIONS} An empty variable counts as unset.`,
    ...sections,
  ].join('\n\n')
}

/** stream.env.example: every variable with its default, commented out. */
export function environmentTemplate(): string {
  const sections = variables().flatMap(([group, members]) => [
    `# --- ${group} ---${NOTES[group] === undefined ? '' : `\n${comment(NOTES[group])}`}`,
    ...members.map(variable => {
      const details = variable.see ? ` (docs/${variable.see}.md)` : ''
      return `${comment(`${sentence(variable.description)}${details}.`)}\n# ${variable.name}=${valueOf(variable)}`
    }),
  ])
  const intro =
    'Settings of web-traffic. Copy this file to stream.env in the folder where you run it, and uncomment what you change. ' +
    'Every value below is the default. The environment overrides stream.env, and stream.env overrides the addresses of a ' +
    `running development cluster. ${DURATIONS} An empty value counts as unset. Written by \`npm run docs\` from src/environment.ts.`
  return [comment(intro), ...sections].join('\n\n') + '\n'
}

const sentence = (phrase: string) => phrase[0]!.toUpperCase() + phrase.slice(1)

/** Plain text in comment lines of at most 110 characters. */
function comment(markdown: string): string {
  const text = markdown.replace(/\[([^\]]*)\]\(([^)]*)\)/g, '$1 ($2)').replaceAll('`', '')
  return text
    .match(/\S.{0,105}\S(?= |$)/g)!
    .map(line => `# ${line}`)
    .join('\n')
}
