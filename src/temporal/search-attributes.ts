import { isGrpcServiceError, type Client } from '@temporalio/client'
import { encodeSearchAttributeIndexedValueType } from '@temporalio/common/lib/search-attributes'
import { UserError } from '../errors'
import { searchAttributes } from '../contract/search-attributes'

type Attribute = (typeof searchAttributes)[number]

/** The type as the Temporal CLI writes it, such as `Datetime`. */
export const typeName = ({ type }: Attribute) => type[0]! + type.slice(1).toLowerCase()

/**
 * The attributes that the client's namespace lacks.
 *
 * @throws UserError if it has one with another type, which cannot be changed
 */
export async function missingSearchAttributes(client: Client): Promise<Attribute[]> {
  const { namespace } = client.options
  const { customAttributes = {} } = await client.connection.operatorService.listSearchAttributes({
    namespace,
  })
  const other = searchAttributes.find(({ name, type }) => {
    const registered = customAttributes[name]
    return registered !== undefined && registered !== encodeSearchAttributeIndexedValueType(type)
  })
  if (other)
    throw new UserError(
      `In the namespace "${namespace}" the search attribute ${other.name} has another type than ${typeName(other)}: use ` +
        'another namespace (TEMPORAL_NAMESPACE).',
    )
  return searchAttributes.filter(({ name }) => customAttributes[name] === undefined)
}

/** Registers the missing attributes and returns them. Idempotent. */
export async function registerSearchAttributes(client: Client): Promise<Attribute[]> {
  const missing = await missingSearchAttributes(client)
  if (missing.length === 0) return []
  try {
    await addSearchAttributes(client, missing)
  } catch (error) {
    // Another command may have registered them at the same time.
    if ((await missingSearchAttributes(client)).length === 0) return []
    if (!isGrpcServiceError(error)) throw error
    throw new UserError(
      `Search attributes cannot be registered in the namespace "${client.options.namespace}" (${error.details}): ask its ` +
        `administrator to add ${describe(missing)}.`,
    )
  }
  return missing
}

export async function addSearchAttributes(client: Client, attributes: Attribute[]): Promise<void> {
  const types = attributes.map(({ name, type }) => [name, encodeSearchAttributeIndexedValueType(type)!])
  await client.connection.operatorService.addSearchAttributes({
    namespace: client.options.namespace,
    searchAttributes: Object.fromEntries(types) as Record<string, number>,
  })
}

/** @throws UserError if the namespace lacks attributes, without which no workflow can start */
export async function requireSearchAttributes(client: Client): Promise<void> {
  const missing = await missingSearchAttributes(client)
  if (missing.length > 0)
    throw new UserError(
      `The Temporal namespace "${client.options.namespace}" lacks search attributes (${describe(missing)}): run ` +
        '"web-traffic migrate".',
    )
}

function describe(attributes: Attribute[]): string {
  return attributes.map(attribute => `${attribute.name} ${typeName(attribute)}`).join(', ')
}
