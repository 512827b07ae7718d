import { ConfigResourceTypes, type Admin } from 'kafkajs'

/** The topic's settings, including those it has by default. */
export async function topicConfig(admin: Admin, topic: string): Promise<Map<string, string>> {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
  })
  const entries = resources[0]?.configEntries ?? []
  return new Map(entries.map(({ configName, configValue }) => [configName, configValue]))
}

export function isCompacted(config: ReadonlyMap<string, string>): boolean {
  return (config.get('cleanup.policy') ?? 'delete').includes('compact')
}
