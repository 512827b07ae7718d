import { startSharedCluster } from './cluster'

/** One cluster for all tests; the brokers that some start for themselves live for a minute or two, as this one does. */
export default async function setUp(): Promise<void> {
  // The compiler that makes a JVM fast in the long run costs such a broker two of its five CPU seconds.
  process.env.JAVA_TOOL_OPTIONS ??= '-XX:TieredStopAtLevel=1'
  await startSharedCluster()
}
