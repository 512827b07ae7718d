import { join } from 'node:path'
import { Connection } from '@temporalio/client'
import { typeName } from '../../temporal/search-attributes'
import { searchAttributes } from '../../contract/search-attributes'
import { portOf, type Component, type Program } from './component'
import { readDynamicConfig } from './dynamic-config'
import { packageRoot } from '../../package-root'
import { isReachable } from './ports'
import { findTemporalProgram } from './temporal-program'

const NAMESPACE = 'default'

/** The Temporal development server with its Web UI; it stores its state in one file. */
export const temporal: Component = {
  name: 'temporal',
  title: 'Temporal',
  addressVariable: 'TEMPORAL_ADDRESS',
  externalVariables: /^TEMPORAL_(ADDRESS|NAMESPACE|API_KEY|UI_URL|TLS.*)$/,
  ports: { main: { purpose: 'Temporal', usual: 7233 }, ui: { purpose: 'the Temporal Web UI', usual: 8233 } },
  readyWithinMs: 30_000,
  stopSignal: 'SIGTERM',

  async find(context) {
    const { file, description } = await findTemporalProgram(context)
    return { description, prepare: (folder, ports) => prepare(file, folder, ports, context.environment) }
  },

  async probe(ports) {
    const connection = await Connection.connect({
      address: `127.0.0.1:${portOf(ports, 'main')}`,
      connectTimeout: '2s',
    })
    try {
      await connection.withDeadline(Date.now() + 2000, () =>
        connection.workflowService.describeNamespace({ namespace: NAMESPACE }),
      )
    } finally {
      await connection.close()
    }
    if (!(await isReachable('127.0.0.1', portOf(ports, 'ui'), 1000))) throw new Error('no Web UI yet')
  },

  variables: ports => ({
    TEMPORAL_ADDRESS: `127.0.0.1:${portOf(ports, 'main')}`,
    TEMPORAL_NAMESPACE: NAMESPACE,
    TEMPORAL_UI_URL: `http://127.0.0.1:${portOf(ports, 'ui')}`,
  }),
}

function prepare(
  file: string,
  folder: string,
  ports: Record<string, number>,
  environment: NodeJS.ProcessEnv,
): ReturnType<Program['prepare']> {
  const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--ui-ip', '127.0.0.1']
  args.push('--port', String(portOf(ports, 'main')), '--ui-port', String(portOf(ports, 'ui')))
  args.push('--db-filename', join(folder, 'temporal.db'), '--log-level', 'warn', '--color', 'never')
  // With these settings a killed process loses nothing; only a crash of the machine can lose the last moments.
  args.push('--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL')
  for (const attribute of searchAttributes)
    args.push('--search-attribute', `${attribute.name}=${typeName(attribute)}`)
  const dynamicConfig = readDynamicConfig(join(packageRoot(), 'temporal-config', 'development.yaml'))
  for (const [key, value] of Object.entries(dynamicConfig))
    args.push('--dynamic-config-value', `${key}=${JSON.stringify(value)}`)
  const own = Object.entries(environment).filter(([name]) => !name.startsWith('TEMPORAL_'))
  return Promise.resolve({ file, args, cwd: folder, environment: Object.fromEntries(own) })
}
