/** `pollers` read Kafka, one per process. `windows` run every workflow and write to Postgres. `all` does both. */
export const ROLES = ['all', 'pollers', 'windows'] as const
export type Role = (typeof ROLES)[number]

/** How long each role may take to shut down. A process with both shuts them down one after the other. */
export const ENDS_WITHIN = '30s'
