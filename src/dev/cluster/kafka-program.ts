import { existsSync, readdirSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { UserError } from '../../errors'
import { findOnPath, isExecutable, lastLine, run, type Command } from './command'
import type { ClusterContext } from './component'
import { install, InstallError } from './install'

const MAVEN_ARTIFACT = 'kafka_2.13'
const KAFKA_VERSION = '4.4.0'
/** The binding that writes Kafka's log: the distribution has it, the server's artifact does not ask for it. */
const LOG4J_VERSION = '2.25.5'
const OLDEST_KAFKA = [3, 3] as const
const OLDEST_JAVA = 17
const HEAP = ['-Xms128m', '-Xmx512m']
const INSTALL_TIMEOUT_MS = 600_000

/** A Kafka that works, as the commands that format its storage and run its server. */
export interface KafkaProgram {
  description: string
  format(configuration: string, clusterId: string): Command
  server(configuration: string, logging: string): Command
}

/** Apache Kafka: scripts on the PATH, KAFKA_HOME (scripts or jars), jars installed before, or Maven. */
export async function findKafkaProgram(surroundings: ClusterContext): Promise<KafkaProgram> {
  const { environment } = surroundings
  const reasons: string[] = []
  const home = environment.KAFKA_HOME
  const scripts = findScripts(environment)
  const found = scripts && (await tryProgram(scripts, surroundings, reasons))
  if (found) return found

  const { java, reason } = await findJava(surroundings)
  if (java === undefined) {
    reasons.push(reason)
  } else {
    if (home !== undefined && hasJars(join(home, 'libs'))) {
      const program = jarProgram(java, join(home, 'libs'), 'in KAFKA_HOME', environment)
      const working = await tryProgram(program, surroundings, reasons)
      if (working) return working
    }
    const installed = await findInstalled(java, surroundings, reasons)
    if (installed) return installed
  }
  throw new UserError(
    `no Apache Kafka: install it (kafka-server-start.sh on the PATH, or KAFKA_HOME), or Java ${OLDEST_JAVA} and ` +
      `Maven so that it can be had from there, or set KAFKA_URL to a broker (${reasons.join('; ')})`,
  )
}

/** The jars in our cache, installed by Maven when they are not there or do not work. */
async function findInstalled(
  java: string,
  surroundings: ClusterContext,
  reasons: string[],
): Promise<KafkaProgram | undefined> {
  const { environment, cache } = surroundings
  const jars = join(cache, `kafka-${KAFKA_VERSION}`)
  if (hasJars(jars)) {
    const before = jarProgram(java, jars, 'installed before', environment)
    const working = await tryProgram(before, surroundings, reasons)
    if (working) return working
    await rm(jars, { recursive: true, force: true })
  }
  const failure = await installByMaven(jars, surroundings)
  if (failure === undefined) {
    return tryProgram(jarProgram(java, jars, 'from Maven', environment), surroundings, reasons)
  }
  reasons.push(failure)
  return undefined
}

async function tryProgram(
  program: KafkaProgram & { version: Command },
  { signal }: ClusterContext,
  reasons: string[],
): Promise<KafkaProgram | undefined> {
  const { ok, output } = await run(program.version, 30_000, signal)
  const [version, major, minor] = /^(\d+)\.(\d+)\.\S+/m.exec(output) ?? []
  if (!ok || version === undefined) {
    reasons.push(`the Kafka ${program.description} does not run: ${lastLine(output)}`)
    return undefined
  }
  const [oldestMajor, oldestMinor] = OLDEST_KAFKA
  if (Number(major) < oldestMajor || (Number(major) === oldestMajor && Number(minor) < oldestMinor)) {
    reasons.push(`the Kafka ${program.description} is ${version}, older than ${OLDEST_KAFKA.join('.')}`)
    return undefined
  }
  return { ...program, description: `${version}, ${program.description}` }
}

function findScripts(environment: NodeJS.ProcessEnv): (KafkaProgram & { version: Command }) | undefined {
  const home = environment.KAFKA_HOME
  const start =
    findOnPath('kafka-server-start.sh', environment) ??
    findOnPath('kafka-server-start', environment) ??
    (home === undefined ? undefined : join(home, 'bin', 'kafka-server-start.sh'))
  if (start === undefined || !isExecutable(start)) return undefined
  const storage = join(dirname(start), start.endsWith('.sh') ? 'kafka-storage.sh' : 'kafka-storage')
  const own = { ...environment, KAFKA_HEAP_OPTS: HEAP.join(' ') }
  return {
    description: `by ${start}`,
    version: { file: start, args: ['--version'], environment: own },
    format: (configuration, clusterId) => ({
      file: storage,
      args: ['format', '-t', clusterId, '-c', configuration],
      environment: own,
    }),
    // The script becomes the server by exec, so the process that is started is the server's.
    server: configuration => ({ file: start, args: [configuration], environment: own }),
  }
}

function jarProgram(
  java: string,
  jars: string,
  origin: string,
  environment: NodeJS.ProcessEnv,
): KafkaProgram & { version: Command } {
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

async function findJava({ environment, signal }: ClusterContext): Promise<{ java?: string; reason: string }> {
  const home = environment.JAVA_HOME
  const candidates = [home && join(home, 'bin', 'java'), findOnPath('java', environment)]
  let reason = 'no Java on the PATH'
  for (const java of candidates) {
    if (!java) continue
    const { ok, output } = await run({ file: java, args: ['-version'], environment }, 20_000, signal)
    const version = /version "(\d+)/.exec(output)?.[1]
    if (ok && Number(version) >= OLDEST_JAVA) return { java, reason: '' }
    reason =
      version === undefined ? `${java} does not run` : `${java} is Java ${version}, older than ${OLDEST_JAVA}`
  }
  return { reason }
}

function hasJars(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).some(name => /^kafka_.*\.jar$/.test(name))
}

/** Fills the folder with Kafka's jars; what went wrong otherwise. */
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
    throw new InstallError(`Maven could not install it: ${error}`)
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
