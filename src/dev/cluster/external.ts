import { UserError } from '../../errors'
import type { Component } from './component'
import { isReachable } from './ports'
import type { ComponentRecord } from './state'

const CONNECT_TIMEOUT_MS = 5000

interface HostPort {
  host: string
  port: number
}

/**
 * The server that the environment names for a component. Undefined if it names none, or the one of this cluster, as in
 * a shell that has the output of `cluster env`.
 *
 * @throws UserError if it is unreachable
 */
export async function findExternal(
  component: Component,
  recorded: ComponentRecord | undefined,
  environment: NodeJS.ProcessEnv,
): Promise<ComponentRecord | undefined> {
  const variable = component.addressVariable
  const value = environment[variable]
  if (value === undefined || value.trim() === '') return undefined
  const addresses = parseAddresses(value, component)
  const ours = recorded?.kind === 'managed' ? recorded.address : undefined
  const names = addresses.map(({ host, port }) => `${host === 'localhost' ? '127.0.0.1' : host}:${port}`)
  if (ours !== undefined && names.length === 1 && names[0] === ours) return undefined
  const reached = await Promise.all(
    addresses.map(({ host, port }) => isReachable(host, port, CONNECT_TIMEOUT_MS)),
  )
  if (!reached.includes(true)) {
    throw new UserError(
      `${component.title} at ${names.join(', ')} is unreachable. Start it, or unset ${variable} to start one here.`,
    )
  }
  const variables: Record<string, string> = {}
  for (const [name, content] of Object.entries(environment)) {
    if (content !== undefined && component.externalVariables.test(name)) variables[name] = content
  }
  if (component.name === 'temporal') variables.TEMPORAL_NAMESPACE ??= 'default'
  return { kind: 'external', address: names.join(','), ports: {}, variables }
}

function parseAddresses(value: string, component: Component): HostPort[] {
  const parsed = value.split(',').map(part => {
    const bare = part.trim().replace(/^[a-z0-9+:]+:\/\//i, '')
    const authority = bare.split(/[/?]/)[0] ?? ''
    const address = authority.slice(authority.lastIndexOf('@') + 1)
    const [, host, port] = /^(\[[^\]]+\]|[^:\s]+)(?::(\d{1,5}))?$/.exec(address) ?? []
    return { host: host?.replace(/^\[|\]$/g, '') ?? '', port: Number(port ?? component.ports.main?.usual) }
  })
  if (parsed.every(({ host, port }) => host !== '' && port > 0 && port < 65_536)) return parsed
  throw new UserError(`${component.addressVariable} is not an address. Set it to host:port, or unset it.`)
}
