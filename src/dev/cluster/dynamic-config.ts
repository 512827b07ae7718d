import { readFileSync } from 'node:fs'
import { parse, YAMLParseError } from 'yaml'
import { z } from 'zod'
import { UserError } from '../../errors'

/** For each key one value, which applies to all namespaces and task queues. */
const schema = z.record(
  z.string(),
  z
    .tuple([
      z.strictObject({
        value: z.json(),
        constraints: z
          .strictObject({}, 'must be empty, because the development server has no values with constraints')
          .nullish(),
      }),
    ])
    .transform(([{ value }]) => value),
)

/**
 * Reads a file in the format of the Temporal server's dynamic configuration; returns the values by key.
 *
 * @throws UserError if the format is wrong, or not supported by the development server's command line
 */
export function readDynamicConfig(file: string): Record<string, z.infer<typeof schema>[string]> {
  const result = schema.safeParse(parseYaml(file) ?? {})
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new UserError(
    `${file} is not a valid dynamic configuration (${issue!.path.join('.') || 'the file'}: ${issue!.message}). ` +
      'Write each key with a list of one entry, "- value: …".',
  )
}

function parseYaml(file: string): unknown {
  try {
    return parse(readFileSync(file, 'utf8'))
  } catch (error) {
    if (error instanceof YAMLParseError)
      throw new UserError(`${file} is not valid YAML: ${error.message.split('\n')[0]!.replace(/:$/, '')}`)
    throw error
  }
}
