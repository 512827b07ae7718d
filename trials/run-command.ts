import type { Command } from 'commander'
import { UserError } from '../src/errors'

/** Runs a command line. Prints a `UserError` as its message alone, any other error with its stack; exits with 1 on both. */
export function runCommand(command: Command): void {
  command.parseAsync().catch((error: unknown) => {
    console.error(error instanceof UserError ? error.message : error)
    process.exit(1)
  })
}
