import type { Command, Option } from 'commander'
import { commandLine } from '../../src/cli/commands'
import { code, groupBy, NOTICE, table } from './markdown'

const INTRO = `# Commands

${NOTICE('the commands in src/cli')}

Run a command with \`npx web-traffic COMMAND\`. Every command has \`--help\`. An error is one line that says what to do.`

/** docs/commands.md: every command as `--help` describes it. */
export async function commandsDocument(): Promise<string> {
  const { commands } = await commandLine()
  const overview = table(
    ['command', 'what it does'],
    commands.map(command => [
      `[\`${command.name()}\`](#${command.name()})`,
      command.summary() || command.description(),
    ]),
  )
  const sections: string[] = []
  for (const [index, command] of commands.entries()) {
    const group = command.helpGroup()
    if (group !== commands[index - 1]?.helpGroup()) sections.push(`## ${group.replace(/:$/, '')}`)
    sections.push(section(command, 3), ...command.commands.map(inner => section(inner, 4)))
  }
  return [INTRO, overview, ...sections].join('\n\n')
}

function section(command: Command, level: number): string {
  const help = command.createHelp()
  const usage = help.commandUsage(command).replace(command.options.length > 0 ? '' : ' [options]', '')
  const title = usage.split(/ [[<]/)[0]!.replace(/^web-traffic /, '')
  const rows = command.registeredArguments.map(argument => [code(argument.name()), argument.description])
  return [
    `${'#'.repeat(level)} ${title}`,
    `\`\`\`sh\n${usage}\n\`\`\``,
    sentence(command.description()),
    ...(rows.length > 0 ? [table(['argument', 'meaning'], rows)] : []),
    ...optionTables(command),
  ].join('\n\n')
}

function optionTables({ options }: Command): string[] {
  const groups = groupBy(options, option => option.helpGroupHeading ?? 'Options:')
  return groups.map(([heading, group]) => {
    const rows = group.map(option => [code(option.flags), meaning(option), defaultOf(option)])
    const hasDefaults = rows.some(([, , fallback]) => fallback !== '')
    const columns = hasDefaults ? ['option', 'meaning', 'default'] : ['option', 'meaning']
    const shown = table(
      columns,
      rows.map(row => row.slice(0, columns.length)),
    )
    return groups.length === 1 ? shown : `${quoteNames(heading)}\n\n${shown}`
  })
}

function meaning({ description, argChoices = [], mandatory }: Option): string {
  const isComplete = argChoices.every(choice => description.includes(choice))
  const choices = isComplete ? '' : ` (${argChoices.map(code).join(', ')})`
  return quoteNames(description) + choices + (mandatory ? '; required' : '')
}

function defaultOf({ defaultValue, defaultValueDescription, envVar }: Option): string {
  const value = defaultValueDescription ?? (defaultValue as string | number | undefined)
  return [envVar, value].flatMap(text => (text === undefined ? [] : [code(String(text))])).join(', or ')
}

/** Marks options and variables as code. */
const quoteNames = (text: string) =>
  text.replace(/(?<![\w`-])(--[a-z][a-z-]*|[A-Z]+_[A-Z_]+(=\w+)?)/g, '`$1`')

function sentence(text: string): string {
  const shown = quoteNames(text)
  return `${shown[0]!.toUpperCase()}${shown.slice(1)}${shown.endsWith('.') ? '' : '.'}`
}
