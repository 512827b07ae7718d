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

const POLL_MS = 100
const KILL_AFTER_MS = 20_000
const LOG_ROTATED_AT = 20_000_000
const SHOWN_LINES = 3

/** A log file and where this run's part of it begins. */
export interface LogPosition {
  file: string
  from: number
}

/** Why a server did not come up. */
export class StartError extends UserError {
  constructor(
    message: string,
    readonly log: string,
  ) {
    super(message)
  }
}

/** Starts a server in a session of its own, its output appended to the log file. */
export function startServer(
  command: Command,
  logFile: string,
): { process: ProcessIdentity; log: LogPosition } {
  mkdirSync(dirname(logFile), { recursive: true })
  if (existsSync(logFile) && statSync(logFile).size > LOG_ROTATED_AT) renameSync(logFile, `${logFile}.1`)
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
    if (started === undefined) throw new UserError(`${file} could not be started: see whether it can be run`)
    return { process: started, log: { file: logFile, from } }
  } finally {
    closeSync(output)
  }
}

/** Resolves when the server answers; a StartError when it exits first or takes too long. */
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
    // Asked after the probe: an answer counts only if the server that should give it is still there.
    if (!isAlive(server)) throw failure(`${component.title} ended while it was starting`, log)
    if (answered) return
    if (Date.now() > deadline) {
      const seconds = component.readyWithinMs / 1000
      throw failure(`${component.title} (pid ${server.pid}) does not answer after ${seconds} s`, log)
    }
    await sleep(POLL_MS)
  }
}

/** Ends a server: first by its own signal, after 20 seconds by SIGKILL. */
export async function stopServer(component: Component, server: ProcessIdentity): Promise<void> {
  signalProcess(server, component.stopSignal)
  const deadline = Date.now() + KILL_AFTER_MS
  while (isAlive(server)) {
    if (Date.now() > deadline) signalProcess(server, 'SIGKILL')
    await sleep(50)
  }
}

/** The last lines of a log that say something, on one line. */
export function logTail(log: LogPosition): string {
  const lines = readLog(log)
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !/^at |^\.\.\. \d+ more/.test(line))
  return lines.slice(-SHOWN_LINES).join(' | ')
}

function failure(what: string, log: LogPosition): StartError {
  return new StartError(`${what}: ${logTail(log) || 'it wrote nothing'} (log: ${log.file})`, readLog(log))
}

function readLog({ file, from }: LogPosition): string {
  try {
    return readFileSync(file).subarray(from).toString('utf8')
  } catch {
    return ''
  }
}
