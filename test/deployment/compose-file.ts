import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'

export const ROOT = join(__dirname, '..', '..')

export interface Service {
  image: string
  build?: string
  command?: string[]
  entrypoint?: string[]
  environment?: Record<string, string | number>
  env_file?: (string | { path: string; required: boolean })[]
  profiles?: string[]
  ports?: string[]
  volumes?: string[]
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test: string[] }
  restart?: string
  stop_grace_period?: string
  deploy?: { replicas?: number; resources?: { limits?: { cpus?: string; memory?: string } } }
}

export interface ComposeFile {
  services: Record<string, Service>
  volumes: Record<string, unknown>
}

/** As it is written, with its anchors resolved. */
export function readComposeFile(): ComposeFile {
  return parse(readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8'), { merge: true }) as ComposeFile
}
