import { execFile, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { parse as parseEnvFile } from 'dotenv'
import { program } from '../../src/dev/program'
import { loadConfig } from '../../src/config'
import { parseDuration } from '../../src/core/duration'
import { ENDS_WITHIN } from '../../src/workers/roles'
import { faults, FOLDER, read, readAll, type Container, type Manifest } from './manifests'

const ROOT = join(__dirname, '..', '..')

const base = read('base')
const scalers = { keda: read('keda'), hpa: read('hpa') }

const named = (kind: string, name: string) =>
  base.find(manifest => manifest.kind === kind && manifest.metadata.name === name)!
const ofKind = (kind: string) => base.filter(manifest => manifest.kind === kind)
const templates = base.filter(({ spec }) => spec?.template).map(({ spec }) => spec.template!)
const containers = templates.flatMap(({ spec }) => spec.containers)
const environment = named('ConfigMap', 'web-traffic').data!
const secretsOf = (container: Container) =>
  container.envFrom.flatMap(({ secretRef }) => (secretRef ? [secretRef.name] : []))

test('what there is', () => {
  expect(base.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()).toEqual([
    'ConfigMap web-traffic',
    'Deployment web-traffic-pollers',
    'Deployment web-traffic-windows',
    'Job web-traffic-migrate',
    'Job web-traffic-start',
    'NetworkPolicy web-traffic',
    'PodDisruptionBudget web-traffic-pollers',
    'PodDisruptionBudget web-traffic-windows',
    'ServiceAccount web-traffic',
  ])
  expect([...base, ...scalers.keda, ...scalers.hpa].filter(({ metadata }) => metadata.namespace)).toEqual([])
})

test("every resource is what the API's schemas say, without a field that they do not know", () => {
  expect(faults([...base.map(withoutEmptySpec), ...scalers.keda, ...scalers.hpa])).toEqual([])
}, 60_000)

/** What `read` makes of an environment file bears a spec for the type's sake. */
function withoutEmptySpec({ spec, ...manifest }: Manifest) {
  return spec && Object.keys(spec).length > 0 ? { ...manifest, spec } : manifest
}

test('the check finds a field that does not exist, one that is missing, and a value of another type', () => {
  const mistaken = (manifest: Manifest, from: string, to: string) => {
    const text = JSON.stringify(manifest)
    expect(text).toContain(from)
    return JSON.parse(text.replace(from, to)) as Manifest
  }
  const windows = named('Deployment', 'web-traffic-windows')
  const [scaler] = scalers.keda as [Manifest]
  const found = faults([
    mistaken(windows, '"livenessProbe"', '"livenessProb"'),
    mistaken(windows, '"replicas":2', '"replicas":"2"'),
    mistaken(windows, '"containerPort":8081', '"hostIP":"::"'),
    mistaken(scaler, '"pollingInterval"', '"polling"'),
    mistaken(scaler, '"scaleTargetRef"', '"target"'),
  ]).join('\n')
  expect(found).toContain(`'"livenessProb"' does not exist in type 'IContainer'`)
  expect(found).toMatch(/spec\/replicas must be integer/)
  expect(found).toMatch(/ports\/0 must have required property containerPort/)
  expect(found).toContain(`'"polling"' does not exist`)
  expect(found).toMatch(/spec must have required property scaleTargetRef/)
}, 60_000)

test('the environment is one that the program knows, usable, and without secrets', () => {
  const example = readFileSync(join(ROOT, 'stream.env.example'), 'utf8')
  const known = Object.keys(parseEnvFile(example.replace(/^# (?=[A-Z][A-Z_]*=)/gm, '')))
  expect(known).toEqual(expect.arrayContaining(Object.keys(environment)))
  const config = loadConfig(environment)
  expect(config.postgres.password).toBeUndefined()
  expect(Object.keys(environment).filter(name => /PASSWORD|KEY|SECRET|TOKEN/.test(name))).toEqual([])
})

test('each container runs a command of the program, from one image of its version', async () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  expect(new Set(containers.map(({ image }) => image))).toEqual(new Set([`web-traffic:${version}`]))
  const run = promisify(execFile)
  const help = (args: string[]) => run(process.execPath, [program, ...args, '--help'])
  const shown = await Promise.all(containers.map(({ args }) => help(args)))
  for (const [i, { args }] of containers.entries())
    expect(shown[i]!.stdout).toContain(`Usage: web-traffic ${args[0]} `)
  expect(containers.map(({ args }) => args.join(' '))).toEqual([
    'worker --role windows',
    'worker --role pollers',
    'migrate',
    'start',
  ])
  await expect(help(['worker', '--role', 'window'])).rejects.toThrow('Allowed choices')
})

test('a worker is given more time to end than it takes at most', () => {
  const deployments = ofKind('Deployment')
  expect(deployments).toHaveLength(2)
  for (const { spec } of deployments)
    expect(spec.template!.spec.terminationGracePeriodSeconds! * 1_000).toBeGreaterThan(
      parseDuration(ENDS_WITHIN)!,
    )
})

test('selectors select what they are for, and nothing else', () => {
  const selected = (matchLabels: Record<string, string>) =>
    base.filter(({ spec }) => {
      const labels = spec?.template?.metadata.labels
      return labels && Object.entries(matchLabels).every(([name, value]) => labels[name] === value)
    })
  for (const kind of ['Deployment', 'PodDisruptionBudget'])
    for (const { metadata, spec } of ofKind(kind))
      expect(selected(spec.selector!.matchLabels)).toEqual([named('Deployment', metadata.name)])
  for (const { metadata, spec } of ofKind('Deployment'))
    expect(
      spec.template!.spec.topologySpreadConstraints!.map(({ labelSelector }) =>
        selected(labelSelector.matchLabels),
      ),
    ).toEqual([[named('Deployment', metadata.name)]])
  for (const { spec } of ofKind('NetworkPolicy'))
    expect(selected(spec.podSelector!.matchLabels)).toHaveLength(templates.length)
})

test('every worker is asked, and its metrics scraped, at the ports at which it answers', () => {
  const { health, metrics } = loadConfig(environment)
  for (const { spec } of ofKind('Deployment'))
    for (const { ports, startupProbe, livenessProbe, readinessProbe } of spec.template!.spec.containers) {
      expect(ports).toEqual([
        { name: 'health', containerPort: health!.port },
        { name: 'metrics', containerPort: metrics!.port },
      ])
      const asked = [startupProbe, livenessProbe, readinessProbe].map(probe => probe!.httpGet)
      expect(asked).toEqual(['/livez', '/livez', '/readyz'].map(path => ({ path, port: 'health' })))
    }
})

test('nothing runs as root, can write to its image, or has a token of the cluster', () => {
  for (const { spec } of templates) {
    expect(spec).toMatchObject({
      serviceAccountName: named('ServiceAccount', 'web-traffic').metadata.name,
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
    })
    for (const { securityContext, resources } of spec.containers) {
      expect(securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      })
      expect(Object.keys(resources.requests)).toEqual(['cpu', 'memory'])
      expect(Object.keys(resources.limits)).toEqual(['cpu', 'memory'])
    }
  }
})

test('migrations run as another user than the workers', () => {
  expect(
    containers.map(({ args, ...container }) => [args.at(-1), secretsOf(container as Container)]),
  ).toEqual([
    ['windows', ['web-traffic-access', 'web-traffic-postgres']],
    ['pollers', ['web-traffic-access', 'web-traffic-postgres']],
    ['migrate', ['web-traffic-access', 'web-traffic-owner']],
    ['start', ['web-traffic-access', 'web-traffic-owner']],
  ])
})

test('there are as many pollers as the ledger has, and scaling goes up to those', () => {
  const { pollers } = loadConfig(environment)
  expect(named('Deployment', 'web-traffic-pollers').spec.replicas).toBe(pollers)
  for (const scaler of Object.values(scalers)) {
    expect(scaler.map(({ spec }) => named('Deployment', spec.scaleTargetRef!.name)?.metadata.name)).toEqual([
      'web-traffic-windows',
      'web-traffic-pollers',
    ])
    const [, { spec }] = scaler as [Manifest, Manifest]
    expect(spec.maxReplicaCount ?? spec.maxReplicas).toBe(pollers)
  }
})

/** Those of KEDA's documentation (2.22) that are used here, each also `…FromEnv`; its schema takes any name. */
const PARAMETERS: Record<string, string[]> = {
  temporal: ['endpointFromEnv', 'namespaceFromEnv', 'taskQueueFromEnv', 'queueTypes', 'targetQueueSize'],
  kafka: [
    'bootstrapServersFromEnv',
    'consumerGroupFromEnv',
    'topicFromEnv',
    'offsetResetPolicy',
    'lagThreshold',
  ],
}

test('KEDA finds addresses in the environment of the workers, and each trigger has the parameters of its kind', () => {
  for (const { spec } of scalers.keda)
    for (const { type, metadata } of spec.triggers!) {
      expect(PARAMETERS[type]).toEqual(expect.arrayContaining(Object.keys(metadata)))
      for (const [parameter, value] of Object.entries(metadata))
        if (parameter.endsWith('FromEnv')) expect(Object.keys(environment)).toContain(value)
    }
})

const kubectl = (...args: string[]) => spawnSync('kubectl', args, { encoding: 'utf8' })
const hasKubectl = kubectl('version', '--client').status === 0

;(hasKubectl ? test : test.skip).each(['base', 'example'])(
  'kubectl renders %s',
  folder => {
    const { stdout, stderr, status } = kubectl('kustomize', join(FOLDER, folder))
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
    const rendered = readAll(stdout)
    expect(faults(rendered)).toEqual([])
    const [config] = rendered.filter(({ kind }) => kind === 'ConfigMap')
    expect(config!.metadata.name).toMatch(/^web-traffic-\w{10}$/)
    for (const { spec } of rendered.flatMap(({ spec }) => spec?.template ?? []))
      for (const { envFrom } of spec.containers)
        expect(envFrom[0]).toEqual({ configMapRef: { name: config!.metadata.name } })
    if (folder !== 'example') return
    const { pollers } = loadConfig(config!.data)
    const scaled = rendered.find(
      ({ kind, metadata }) => kind === 'ScaledObject' && metadata.name.endsWith('pollers'),
    )
    expect(scaled!.spec.maxReplicaCount).toBe(pollers)
    expect(rendered.filter(({ metadata }) => metadata.namespace !== 'web-traffic')).toEqual([])
    expect(rendered.filter(({ kind, spec }) => kind === 'Deployment' && spec.replicas !== undefined)).toEqual(
      [],
    )
  },
  60_000,
)
