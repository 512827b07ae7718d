import { existsSync, readdirSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { UserError } from '../../errors'
import { findOnPath, isExecutable, lastLine, run, type Command } from './command'
import type { ClusterContext } from './component'
import { install, InstallError } from './install'

const MAVEN_ARTIFACT = 'kafka_2.13'
const KAFKA_VERSION = '4.4.0'
/** The binding that writes Kafka's log. The distribution includes it; the Maven artifact of the server does not. */
const LOG4J_VERSION = '2.25.5'
const MIN_KAFKA = [3, 3] as const
const MIN_JAVA = 17
const HEAP = ['-Xms128m', '-Xmx512m']
const INSTALL_TIMEOUT_MS = 600_000

/** A working Kafka: the commands that format its storage and run its server. */
export interface KafkaProgram {
  description: string
  format(configuration: string, clusterId: string): Command
  server(configuration: string, logging: string): Command
}

type Candidate = KafkaProgram & { version: Command }

/**
 * Apache Kafka: scripts on the PATH, KAFKA_HOME (scripts or jars), jars installed earlier, or jars from Maven.
 *
 * @throws UserError with the reason for each that does not work
 */
export async function findKafkaProgram(context: ClusterContext): Promise<KafkaProgram> {
  const reasons: string[] = []
  for await (const candidate of candidates(context, reasons)) {
    const { ok, output } = await run(candidate.version, 30_000, context.signal)
    const [version, major, minor] = /^(\d+)\.(\d+)\.\S+/m.exec(output) ?? []
    const [minMajor, minMinor] = MIN_KAFKA
    if (!ok || version === undefined) {
      reasons.push(`the Kafka ${candidate.description} does not run: ${lastLine(output)}`)
    } else if (Number(major) < minMajor || (Number(major) === minMajor && Number(minor) < minMinor)) {
      reasons.push(`the Kafka ${candidate.description} is ${version}, older than ${MIN_KAFKA.join('.')}`)
    } else {
      return { ...candidate, description: `${version}, ${candidate.description}` }
    }
  }
  throw new UserError(
    `Apache Kafka was not found (${reasons.join('; ')}). Install it (kafka-server-start.sh on the PATH, or KAFKA_HOME); ` +
      `or install Java ${MIN_JAVA} and Maven, which install it here; or set KAFKA_URL to a broker.`,
  )
}

async function* candidates(context: ClusterContext, reasons: string[]): AsyncGenerator<Candidate> {
  const { environment, cache } = context
  const scripts = findScripts(environment)
  if (scripts) yield scripts
  const java = await findJava(context, reasons)
  if (java === undefined) return
  const libs = environment.KAFKA_HOME === undefined ? undefined : join(environment.KAFKA_HOME, 'libs')
  if (libs !== undefined && hasJars(libs)) yield jarProgram(java, libs, 'in KAFKA_HOME', environment)
  const jars = join(cache, `kafka-${KAFKA_VERSION}`)
  if (hasJars(jars)) {
    yield jarProgram(java, jars, 'installed earlier', environment)
    // The caller asks for another candidate only if these jars do not work.
    await rm(jars, { recursive: true, force: true })
  }
  const failure = await installByMaven(jars, context)
  if (failure === undefined) yield jarProgram(java, jars, 'from Maven', environment)
  else reasons.push(failure)
}

function findScripts(environment: NodeJS.ProcessEnv): Candidate | undefined {
  const home = environment.KAFKA_HOME
  const start =
    findOnPath('kafka-server-start.sh', environment) ??
    findOnPath('kafka-server-start', environment) ??
    (home === undefined ? undefined : join(home, 'bin', 'kafka-server-start.sh'))
  if (start === undefined || !isExecutable(start)) return undefined
  const storage = join(dirname(start), start.endsWith('.sh') ? 'kafka-storage.sh' : 'kafka-storage')
  const own = { ...environment, KAFKA_HEAP_OPTS: HEAP.join(' ') }
  return {
    description: `at ${start}`,
    version: { file: start, args: ['--version'], environment: own },
    format: (configuration, clusterId) => ({
      file: storage,
      args: ['format', '-t', clusterId, '-c', configuration],
      environment: own,
    }),
    // The script ends with exec, so the process started here is the server itself.
    server: configuration => ({ file: start, args: [configuration], environment: own }),
  }
}

function jarProgram(java: string, jars: string, origin: string, environment: NodeJS.ProcessEnv): Candidate {
  const command = (options: string[], main: string, ...args: string[]): Command => ({
    file: java,
    args: [...options, '-Djava.awt.headless=true', '-cp', join(jars, '*'), main, ...args],
    environment,
  })
  return {
    description: origin,
    version: command([], 'kafka.Kafka', '--version'),
    format: (configuration, clusterId) =>
      command([], 'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', configuration),
    server: (configuration, logging) =>
      command(
        [...HEAP, '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', `-Dlog4j2.configurationFile=${logging}`],
        'kafka.Kafka',
        configuration,
      ),
  }
}

async function findJava(
  { environment, signal }: ClusterContext,
  reasons: string[],
): Promise<string | undefined> {
  const home = environment.JAVA_HOME
  const found = [home && join(home, 'bin', 'java'), findOnPath('java', environment)].filter(
    Boolean,
  ) as string[]
  if (found.length === 0) reasons.push('no Java on the PATH')
  for (const java of found) {
    const { ok, output } = await run({ file: java, args: ['-version'], environment }, 20_000, signal)
    const version = /version "(\d+)/.exec(output)?.[1]
    if (ok && Number(version) >= MIN_JAVA) return java
    reasons.push(
      version === undefined ? `${java} does not run` : `${java} is Java ${version}, older than ${MIN_JAVA}`,
    )
  }
  return undefined
}

function hasJars(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).some(name => /^kafka_.*\.jar$/.test(name))
}

/** Fills the folder with Kafka's jars; returns why if that fails. */
async function installByMaven(
  target: string,
  { environment, report, signal }: ClusterContext,
): Promise<string | undefined> {
  const maven = findOnPath('mvn', environment)
  if (maven === undefined) return 'no Maven (mvn) on the PATH'
  report(`Kafka: installing Maven org.apache.kafka:${MAVEN_ARTIFACT} ${KAFKA_VERSION} (once)`)
  return install(target, async folder => {
    const pom = join(folder, 'pom.xml')
    await writeFile(pom, POM)
    const args = ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${folder}`]
    const { ok, output } = await run(
      { file: maven, args, environment, cwd: folder },
      INSTALL_TIMEOUT_MS,
      signal,
    )
    if (ok && hasJars(folder)) return
    const error = output.split('\n').find(line => line.includes('ERROR')) ?? lastLine(output)
    throw new InstallError(`installing it with Maven failed: ${error}`)
  })
}

const dependency = (group: string, artifact: string, version: string) => `
    <dependency>
      <groupId>${group}</groupId>
      <artifactId>${artifact}</artifactId>
      <version>${version}</version>
    </dependency>`

const POM = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <dependencies>${dependency('org.apache.kafka', MAVEN_ARTIFACT, KAFKA_VERSION)}${dependency(
    'org.apache.logging.log4j',
    'log4j-slf4j-impl',
    LOG4J_VERSION,
  )}
  </dependencies>
</project>
`
