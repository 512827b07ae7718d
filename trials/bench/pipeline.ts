import type { ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { endWorker, spawnWorker } from '../../src/dev/program'
import { loadConfig, type Config } from '../../src/config'
import { openDatabase, type Db } from '../../src/postgres/database'
import { createDatabase, migrate } from '../../src/postgres/migrate'
import { startPipeline } from '../../src/pipeline/start'

export interface BenchPipeline {
  config: Config
  db: Db
  processes: ChildProcess[]
  /** What each worker logs, at the level debug. */
  logs: string[]
}

/** Starts a new pipeline on a topic that is there, with its workers, and ends the workers when `use` has ended. */
export async function withPipeline<T>(
  {
    name,
    workers,
    folder,
    settings,
  }: {
    /** Of the group and the database. */
    name: string
    workers: number
    /** For the workers' logs. */
    folder: string
    settings: Record<string, string>
  },
  use: (pipeline: BenchPipeline) => Promise<T>,
): Promise<T> {
  Object.assign(process.env, { KAFKA_GROUP: name, POSTGRES_DB: name, ...settings })
  const config = loadConfig()
  await createDatabase(config.postgres)
  const db = openDatabase(config.postgres, 2)
  mkdirSync(folder, { recursive: true })
  const logs = Array.from({ length: workers }, (_, i) => join(folder, `${name}-${i + 1}.log`))
  try {
    await migrate(db)
    await startPipeline(config, workers, 'earliest')
    const processes = logs.map(log => spawnWorker(log, { ...process.env, LOG_LEVEL: 'debug' }))
    try {
      return await use({ config, db, processes, logs })
    } finally {
      await Promise.all(processes.map(endWorker))
    }
  } finally {
    await db.destroy()
  }
}
