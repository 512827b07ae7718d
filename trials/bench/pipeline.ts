import type { ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { loadConfig, type Config } from '../../src/config'
import { endWorker, spawnWorker } from '../../src/dev/program'
import { startPipeline } from '../../src/pipeline/start'
import { openDatabase, type Db } from '../../src/postgres/database'
import { createDatabase, migrate } from '../../src/postgres/migrate'

export interface BenchPipeline {
  config: Config
  db: Db
  processes: ChildProcess[]
  /** The log file of each worker, with messages of level debug. */
  logs: string[]
}

export interface BenchPipelineOptions {
  /** The name of the group and of the database. */
  name: string
  workers: number
  /** For the workers' logs. */
  folder: string
  settings: Record<string, string>
}

/** Starts a new pipeline and its workers on an existing topic; stops the workers after `use`. */
export async function withPipeline<T>(
  { name, workers, folder, settings }: BenchPipelineOptions,
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
