import { randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OwnedCluster, withoutAddresses } from '../../src/dev/cluster/owned-cluster'

let cluster: OwnedCluster | undefined

/** Kafka is started often and has little to do: what Java would compile at length is not worth it. */
const QUICK_START = '-XX:TieredStopAtLevel=1 -XX:-UsePerfData'

/** One cluster for all tests, in a temporary folder, by the product's own command. */
export async function startSharedCluster(): Promise<void> {
  process.env.JAVA_TOOL_OPTIONS ??= QUICK_START
  const dir = join(tmpdir(), `web-traffic-test-${randomUUID()}`)
  cluster = new OwnedCluster(dir)
  const environment = await cluster.untilUp()
  const kept = withoutAddresses(process.env)
  for (const name of Object.keys(process.env)) if (!(name in kept)) delete process.env[name]
  Object.assign(process.env, environment, { WEB_TRAFFIC_TEST_CLUSTER: dir })
}

export async function stopSharedCluster(): Promise<void> {
  await cluster?.end()
}
