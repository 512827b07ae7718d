import { isGrpcServiceError, type Client } from '@temporalio/client'
import { encodeSearchAttributeIndexedValueType } from '@temporalio/common/lib/search-attributes'
import { UserError } from '../errors'
import { searchAttributes } from '../contract/search-attributes'

type Attribute = (typeof searchAttributes)[number]

/** As the Temporal CLI writes a type: `Datetime`. */
export const typeName = ({ type }: Attribute) => type[0]! + type.slice(1).toLowerCase()

/**
 * Those that a namespace does not have.
 *
 * @throws UserError where it has one of them with another type, which no command can mend
 */
export async function missingSearchAttributes(client: Client): Promise<Attribute[]> {
  const { namespace } = client.options
  const { customAttributes = {} } = await client.connection.operatorService.listSearchAttributes({
    namespace,
  })
  for (const attribute of searchAttributes) {
    const registered = customAttributes[attribute.name]
    if (registered === undefined || registered === encodeSearchAttributeIndexedValueType(attribute.type))
      continue
    throw new UserError(
      `The namespace "${namespace}" has a search attribute ${attribute.name} of another type than ` +
        `${typeName(attribute)}: use a namespace of its own, by TEMPORAL_NAMESPACE.`,
    )
  }
  return searchAttributes.filter(({ name }) => customAttributes[name] === undefined)
}

/** Registers what is missing; what it registered. Safe to repeat. */
export async function registerSearchAttributes(client: Client): Promise<Attribute[]> {
  const { namespace } = client.options
  const missing = await missingSearchAttributes(client)
  if (missing.length === 0) return []
  try {
    await addSearchAttributes(client, missing)
  } catch (error) {
    // Another command was at it at the same moment.
    if ((await missingSearchAttributes(client)).length === 0) return []
    if (!isGrpcServiceError(error)) throw error
    throw new UserError(
      `Search attributes cannot be registered in the namespace "${namespace}" (${error.details}): ` +
        `have them added to it: ${described(missing)}.`,
    )
  }
  return missing
}

/** Registers attributes that the namespace does not have. */
export async function addSearchAttributes(client: Client, attributes: Attribute[]): Promise<void> {
  const types = attributes.map(({ name, type }) => [name, encodeSearchAttributeIndexedValueType(type)!])
  await client.connection.operatorService.addSearchAttributes({
    namespace: client.options.namespace,
    searchAttributes: Object.fromEntries(types) as Record<string, number>,
  })
}

/** @throws UserError where a namespace lacks some: workflows that bear them could not be started. */
export async function requireSearchAttributes(client: Client): Promise<void> {
  const { namespace } = client.options
  const missing = await missingSearchAttributes(client)
  if (missing.length > 0)
    throw new UserError(
      `The Temporal namespace "${namespace}" lacks search attributes (${described(missing)}): run "web-traffic migrate".`,
    )
}

function described(attributes: Attribute[]): string {
  return attributes.map(attribute => `${attribute.name} ${typeName(attribute)}`).join(', ')
}
