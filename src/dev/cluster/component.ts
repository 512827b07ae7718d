import type { Command } from './command'
import type { ComponentName } from './state'

/** What finding and starting components needs to know. */
export interface ClusterContext {
  /** The cluster's folder, absolute. */
  dir: string
  environment: NodeJS.ProcessEnv
  /** Where programs are installed that the machine does not have. */
  cache: string
  report: (line: string) => void
  signal: AbortSignal
}

/** A program that was tried and works. */
export interface Program {
  /** Its version and where it came from, for a person. */
  description: string
  /** Makes what it needs in its folder and says how to start it; done again before each start. */
  prepare(folder: string, ports: Record<string, number>): Promise<Command>
}

/** One of the servers of a cluster. */
export interface Component {
  name: ComponentName
  title: string
  /** Set in the environment, it names a server that is used in place of one of ours. */
  addressVariable: string
  /** Further variables that go with an address from the environment. */
  externalVariables: RegExp
  /** Each port's purpose and usual number; `main` is the one that clients use. */
  ports: Record<string, { purpose: string; usual?: number }>
  readyWithinMs: number
  stopSignal: NodeJS.Signals
  /** A failure to start that passes by itself: started again while this stands in its log. */
  transientFailure?: RegExp
  /** Finds a program, installing one if need be; throws a UserError that says how to get one. */
  find(surroundings: ClusterContext): Promise<Program>
  /** Resolves when it really answers; rejects while it does not. */
  probe(ports: Record<string, number>): Promise<void>
  variables(ports: Record<string, number>): Record<string, string>
}

export function portOf(ports: Record<string, number>, name: string): number {
  const port = ports[name]
  if (port === undefined) throw new Error(`no port for ${name}`)
  return port
}
