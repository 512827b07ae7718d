import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse as parseEnvFile } from 'dotenv'
import ts from 'typescript'
import { parse, parseAllDocuments } from 'yaml'

export const FOLDER = join(__dirname, '..', '..', 'deploy', 'kubernetes')

export type Labels = Record<string, string>

export interface Container {
  name: string
  image: string
  args: string[]
  envFrom: { configMapRef?: { name: string }; secretRef?: { name: string; optional?: boolean } }[]
  ports?: { name: string; containerPort: number }[]
  startupProbe?: Probe
  livenessProbe?: Probe
  readinessProbe?: Probe
  resources: { requests: Labels; limits: Labels }
  securityContext: object
}

export interface Probe {
  httpGet: { path: string; port: string }
}

/** What the tests look at of a resource, whatever its kind. */
export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; labels?: Labels }
  data?: Labels
  spec: {
    replicas?: number
    selector?: { matchLabels: Labels }
    podSelector?: { matchLabels: Labels }
    template?: {
      metadata: { labels: Labels }
      spec: {
        terminationGracePeriodSeconds?: number
        automountServiceAccountToken?: boolean
        serviceAccountName?: string
        securityContext: object
        topologySpreadConstraints?: { labelSelector: { matchLabels: Labels } }[]
        containers: Container[]
      }
    }
    scaleTargetRef?: { name: string }
    maxReplicaCount?: number
    maxReplicas?: number
    triggers?: { type: string; metadata: Labels }[]
  }
}

interface Kustomization {
  resources: string[]
  configMapGenerator?: { name: string; envs: string[] }[]
}

/** What a kustomization makes of its own files, but for labels and hashes. */
export function read(folder: string): Manifest[] {
  const text = (file: string) => readFileSync(join(FOLDER, folder, file), 'utf8')
  const { resources, configMapGenerator = [] } = parse(text('kustomization.yaml')) as Kustomization
  return [
    ...resources.flatMap(file => readAll(text(file))),
    ...configMapGenerator.map(({ name, envs }) => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name },
      data: Object.assign({}, ...envs.map(file => parseEnvFile(text(file)))) as Labels,
      spec: {},
    })),
  ]
}

export function readAll(text: string): Manifest[] {
  return parseAllDocuments(text).map(document => {
    if (document.errors.length > 0) throw document.errors[0]!
    return document.toJS() as Manifest
  })
}

const moduleOf = ({ apiVersion }: Pick<Manifest, 'apiVersion'>) =>
  apiVersion.startsWith('keda.sh/')
    ? `@kubernetes-models/keda/${apiVersion}`
    : `kubernetes-models/${apiVersion}`

interface Model {
  validate(): void
}

/**
 * What the API's schemas have against resources: values by the schemas themselves, and fields that they do not know by
 * the types made from them, since the schemas let those pass.
 *
 * @returns a line for each fault
 */
export function faults(manifests: Pick<Manifest, 'apiVersion' | 'kind'>[]): string[] {
  return [...manifests.flatMap(wrongValues), ...unknownFields(manifests)]
}

function wrongValues(manifest: Pick<Manifest, 'apiVersion' | 'kind'>): string[] {
  // eslint-disable-next-line @typescript-eslint/no-require-imports
  const models = require(moduleOf(manifest)) as Record<string, new (data: object) => Model>
  const Resource = models[manifest.kind]
  if (!Resource) return [`${manifest.apiVersion} has no ${manifest.kind}`]
  try {
    new Resource(manifest).validate()
    return []
  } catch (error) {
    return [`${manifest.kind}: ${(error as Error).message}`]
  }
}

/** Read once: they are the same for every check. */
const parsed = new Map<string, ts.SourceFile | undefined>()

function unknownFields(manifests: Pick<Manifest, 'apiVersion' | 'kind'>[]): string[] {
  const name = join(__dirname, 'as-types.ts')
  const text = manifests
    .map(
      (manifest, i) =>
        `import type { I${manifest.kind} as T${i} } from '${moduleOf(manifest)}'\n` +
        `export const resource${i}: T${i} = ${JSON.stringify(manifest)}\n`,
    )
    .join('')
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.Node16,
    moduleResolution: ts.ModuleResolutionKind.Node16,
    types: [],
  }
  const host = ts.createCompilerHost(options)
  const getSourceFile = host.getSourceFile.bind(host)
  host.getSourceFile = (file, languageVersion) => {
    if (file === name) return ts.createSourceFile(file, text, languageVersion)
    if (!parsed.has(file)) parsed.set(file, getSourceFile(file, languageVersion))
    return parsed.get(file)
  }
  const program = ts.createProgram([name], options, host)
  return program
    .getSemanticDiagnostics(program.getSourceFile(name))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))
}
