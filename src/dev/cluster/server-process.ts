import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../errors'
import type { Command } from './command'
import type { Component } from './component'
import { identify, isAlive, signalProcess, type ProcessIdentity } from './process-identity'

const POLL_INTERVAL_MS = 100
const KILL_AFTER_MS = 20_000
const MAX_LOG_BYTES = 20_000_000
const TAIL_LINES = 3

/** A log file, and the offset at which the current run begins. */
export interface LogPosition {
  file: string
  from: number
}

export class StartError extends UserError {
  constructor(
    message: string,
    readonly log: string,
  ) {
    super(message)
  }
}

/** Starts a server in its own session; appends its output to the log file. */
export function startServer(
  command: Command,
  logFile: string,
): { process: ProcessIdentity; log: LogPosition } {
  mkdirSync(dirname(logFile), { recursive: true })
  if (existsSync(logFile) && statSync(logFile).size > MAX_LOG_BYTES) renameSync(logFile, `${logFile}.1`)
  const output = openSync(logFile, 'a')
  try {
    const from = fstatSync(output).size
    const { file, args, environment, cwd, uid, gid } = command
    const ids = uid === undefined || gid === undefined ? {} : { uid, gid }
    const child = spawn(file, args, {
      env: environment,
      cwd,
      ...ids,
      detached: true,
      stdio: ['ignore', output, output],
    })
    child.on('error', () => undefined)
    child.unref()
    const started = child.pid === undefined ? undefined : identify(child.pid)
    if (started === undefined)
      throw new UserError(`${file} could not be started. Check that it can be executed.`)
    return { process: started, log: { file: logFile, from } }
  } finally {
    closeSync(output)
  }
}

/**
 * Resolves when the server answers.
 *
 * @throws StartError if it exits first, or does not answer in time
 */
export async function waitUntilReady(
  component: Component,
  server: ProcessIdentity,
  ports: Record<string, number>,
  log: LogPosition,
  signal: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + component.readyWithinMs
  for (;;) {
    signal.throwIfAborted()
    const answered = await component.probe(ports).then(
      () => true,
      () => false,
    )
    // Checked after the probe: if the server has died, something else gave the answer.
    if (!isAlive(server)) throw failure(`${component.title} exited during its start`, log)
    if (answered) return
    if (Date.now() > deadline) {
      const seconds = component.readyWithinMs / 1000
      throw failure(`${component.title} (pid ${server.pid}) did not answer within ${seconds} s`, log)
    }
    await sleep(POLL_INTERVAL_MS)
  }
}

/** Stops a server with its stop signal, and after 20 seconds with SIGKILL. */
export async function stopServer(component: Component, server: ProcessIdentity): Promise<void> {
  signalProcess(server, component.stopSignal)
  const deadline = Date.now() + KILL_AFTER_MS
  while (isAlive(server)) {
    if (Date.now() > deadline) signalProcess(server, 'SIGKILL')
    await sleep(50)
  }
}

/** The last lines of a log, without stack traces, joined to one line. */
export function logTail(log: LogPosition): string {
  const lines = readLog(log)
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !/^at |^\.\.\. \d+ more/.test(line))
  return lines.slice(-TAIL_LINES).join(' | ')
}

function failure(what: string, log: LogPosition): StartError {
  return new StartError(`${what}: ${logTail(log) || 'no output'} (log: ${log.file})`, readLog(log))
}

function readLog({ file, from }: LogPosition): string {
  try {
    return readFileSync(file).subarray(from).toString('utf8')
  } catch {
    return ''
  }
}
