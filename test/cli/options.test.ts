import { describe, expect, test } from '@jest/globals'
import type { Command } from 'commander'
import { commandLine } from '../../src/cli/commands'

/** Parses a command line without running it; an invalid one returns the message. */
async function parse(line: string): Promise<unknown> {
  const [name, ...args] = line.split(' ')
  const program = await commandLine()
  const command = program.commands.find(command => command.name() === name)!
  let options: unknown
  command.exitOverride().configureOutput({ writeErr: () => undefined })
  command.action((...args) => void (options = args.at(-2)))
  try {
    await command.parseAsync(args, { from: 'user' })
    return options
  } catch (error) {
    return (error as Error).message
  }
}

test('status --max-lag accepts a lag of any size', async () => {
  expect(await parse('status --max-lag 1')).toMatchObject({ maxLag: 1 })
  expect(await parse('status --max-lag 10000')).toMatchObject({ maxLag: 10_000 })
  expect(await parse('status --max-lag 5000000000')).toMatchObject({ maxLag: 5_000_000_000 })
})

test('values are parsed to numbers, milliseconds and instants', async () => {
  expect(
    await parse('produce --rate 20 --for 10m --late 0.5 --speed 1e2 --start 2026-01-31T12:00:00Z'),
  ).toMatchObject({
    rate: 20,
    for: 600_000,
    late: 0.5,
    speed: 100,
    start: Date.parse('2026-01-31T12:00:00Z'),
  })
  expect(await parse('produce --host https://a.example/')).toMatchObject({
    host: { host: 'a.example', scheme: 'https' },
  })
  expect(await parse('dashboard --port 65535 --web-ui http://ui:8233')).toMatchObject({
    port: 65_535,
    webUi: 'http://ui:8233',
  })
})

describe('an invalid value is rejected with the form that is wanted', () => {
  test.each([
    ['status --max-lag 0', 'a whole number of at least 1'],
    ['status --max-lag 1.5', 'a whole number of at least 1'],
    ['status --max-lag many', 'a whole number of at least 1'],
    ['windows --limit 10000', 'a whole number from 1 to 9999'],
    ['late --from yesterday', 'a time such as 2026-01-31T12:05:00Z'],
    ['dashboard --port 65536', 'a whole number from 1 to 65535'],
    ['dashboard --web-ui ftp://ui', 'a URL such as http://localhost:8233'],
    ['accept-log --partition -1', 'a whole number from 0 to 999999'],
    ['produce --seed -1', 'a whole number of at least 0'],
    ['produce --for soon', 'a duration such as 500ms, 10s, 5m or 1h'],
    ['produce --late 1.1', 'a number from 0 to 1'],
    ['produce --speed 0', 'a number from 0.01 to 1000000'],
    ['produce --host a/b', 'a host name such as www.example.com'],
  ])('%s', async (line, wanted) => {
    const [, option] = line.split(' ')
    const message = await parse(line)
    expect(message).toContain(`error: option '${option}`)
    expect(message).toContain(`is invalid. Pass ${wanted}`)
  })
})

/** Every command and subcommand. */
const withInner = (command: Command): Command[] => [command, ...command.commands.flatMap(withInner)]

test('every command, argument and option has a description', async () => {
  const program = await commandLine()
  const all = program.commands.flatMap(withInner)
  expect(all.length).toBeGreaterThan(24)
  for (const command of all) {
    expect([command.name(), command.description()]).toEqual([command.name(), expect.stringMatching(/\w/)])
    for (const { name, description } of [
      ...command.registeredArguments.map(argument => ({
        name: argument.name(),
        description: argument.description,
      })),
      ...command.options.map(option => ({ name: option.flags, description: option.description })),
    ])
      expect([command.name(), name, description]).toEqual([command.name(), name, expect.stringMatching(/\w/)])
  }
})
