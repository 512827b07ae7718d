import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { promisify } from 'node:util'
import type { Command } from 'commander'
import { expect, test } from '@jest/globals'
import { commandLine } from '../../src/cli/commands'
import { program } from '../../src/dev/program'

/** Fails unless the command exits with 0. */
const run = (args: string[], variables: Record<string, string> = {}) =>
  promisify(execFile)(process.execPath, [program, ...args], {
    cwd: tmpdir(),
    env: { PATH: process.env.PATH, ...variables },
  })

/** The names of a command and of its subcommands, with those before them. */
const pathsOf = (command: Command, parents: string[] = []): string[][] => {
  const path = [...parents, command.name()]
  return [path, ...command.commands.flatMap(inner => pathsOf(inner, path))]
}

test('--help exists for every command and subcommand', async () => {
  const { commands } = await commandLine()
  const paths = [[], ...commands.flatMap(command => pathsOf(command))]
  expect(paths.map(path => path.join(' '))).toEqual(
    expect.arrayContaining(['migrate', 'worker', 'start', 'windows', 'produce', 'demo', 'cluster up']),
  )
  for (const path of paths) {
    const { stdout, stderr } = await run([...path, '--help'])
    expect({ path, stderr }).toEqual({ path, stderr: '' })
    expect(stdout).toMatch(new RegExp(`^Usage: ${['web-traffic', ...path].join(' ')} `))
  }
})

test('--help lists every command with its summary', async () => {
  const { stdout } = await run(['--help'])
  const { commands } = await commandLine()
  const help = stdout.replace(/\s+/g, ' ')
  for (const command of commands) expect(help).toContain(command.summary() || command.description())
})

test('--help works with an invalid configuration', async () => {
  const { stderr } = await run(['start', '--help'], { WINDOW_SIZE: '0', POSTGRES_URL: 'garbage' })
  expect(stderr).toBe('')
})
