import type { Command } from './command'
import type { ComponentName } from './state'

/** Everything that finding and starting components depends on. */
export interface ClusterContext {
  /** The folder of the cluster, absolute. */
  dir: string
  environment: NodeJS.ProcessEnv
  /** The folder where missing programs are installed. */
  cache: string
  report: (line: string) => void
  signal: AbortSignal
}

/** A program that was found to work. */
export interface Program {
  /** Version and origin, to print. */
  description: string
  /** Prepares a folder and returns the command that starts the server; called before each start. */
  prepare(folder: string, ports: Record<string, number>): Promise<Command>
}

/** A kind of server. */
export interface Component {
  name: ComponentName
  title: string
  /** The environment variable that names an external server. */
  addressVariable: string
  /** All environment variables that belong to an external server. */
  externalVariables: RegExp
  /** Ports by name; clients use `main`. */
  ports: Record<string, { purpose: string; usual?: number }>
  readyWithinMs: number
  stopSignal: NodeJS.Signals
  /** If the log matches, the start failed for a transient reason and is retried. */
  transientFailure?: RegExp
  /** Finds the program or installs it. @throws UserError that says how to get it */
  find(context: ClusterContext): Promise<Program>
  /** Resolves if the server answers; rejects if not. */
  probe(ports: Record<string, number>): Promise<void>
  variables(ports: Record<string, number>): Record<string, string>
}

export function portOf(ports: Record<string, number>, name: string): number {
  const port = ports[name]
  if (port === undefined) throw new Error(`no port ${name}`)
  return port
}
