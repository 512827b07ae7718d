import { readFileSync } from 'node:fs'
import { parse, YAMLParseError } from 'yaml'
import { z } from 'zod'
import { UserError } from '../../errors'

/** Every key's one value that is for all namespaces and task queues. */
const schema = z.record(
  z.string(),
  z
    .tuple([
      z.strictObject({
        value: z.json(),
        constraints: z
          .strictObject({}, 'must be empty: the development server takes no value with constraints')
          .nullish(),
      }),
    ])
    .transform(([{ value }]) => value),
)

/**
 * The values of a file in the format of the Temporal server's own dynamic configuration, by key.
 *
 * @throws UserError where it is in another format, or has what the development server's command line cannot say
 */
export function readDynamicConfig(file: string): Record<string, z.infer<typeof schema>[string]> {
  const result = schema.safeParse(parseYaml(file) ?? {})
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new UserError(
    `${file} is not a usable dynamic configuration (${issue!.path.join('.') || 'the whole'}: ${issue!.message}): ` +
      'write each key with a list of one entry, "- value: …"',
  )
}

function parseYaml(file: string): unknown {
  try {
    return parse(readFileSync(file, 'utf8'))
  } catch (error) {
    if (error instanceof YAMLParseError)
      throw new UserError(`${file} is no YAML: ${error.message.split('\n')[0]!.replace(/:$/, '')}`)
    throw error
  }
}
