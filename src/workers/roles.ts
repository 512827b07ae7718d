/**
 * What a worker process runs: `pollers` read Kafka, one in each process; `windows` run every workflow and what writes to
 * Postgres; `all` is both.
 */
export const ROLES = ['all', 'pollers', 'windows'] as const
export type Role = (typeof ROLES)[number]

/** After so long what a role still does at its end is given up; both, one after the other, in a process that runs all. */
export const ENDS_WITHIN = '30s'
