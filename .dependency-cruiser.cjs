/**
 * The rooms of src, each floor resting on those listed before it: a room imports only rooms of earlier lines. The modules
 * directly in src (config, environment, errors, log, package-root) are for all rooms except core, contract and workflows.
 */
const FLOORS = [
  ['core'],
  ['contract', 'tls'],
  ['workflows', 'kafka', 'postgres', 'geo', 'telemetry'],
  ['temporal'],
  ['terminal', 'pipeline', 'activities', 'sources'],
  ['workers', 'dashboard'],
  ['dev', 'cli'],
]

const room = (...names) => `^src/(${names.join('|')})/`
const only = (name, comment, from, ...allowed) => ({
  name,
  comment,
  severity: 'error',
  from: { path: from },
  to: { pathNot: allowed },
})

const upwards = FLOORS.slice(0, -1).map((floor, level) => ({
  name: `${floor.join('-')}-upwards`,
  comment: 'A room imports only rooms on the floors below it (.dependency-cruiser.cjs lists the floors).',
  severity: 'error',
  from: { path: room(...floor) },
  to: { path: room(...FLOORS.slice(level + 1).flat()) },
}))

/** Rooms on one floor do not know each other. */
const sideways = FLOORS.flatMap(floor =>
  floor.map(name => ({
    name: `${name}-sideways`,
    comment: 'Rooms on the same floor do not import each other (.dependency-cruiser.cjs lists the floors).',
    severity: 'error',
    from: { path: room(name) },
    to: { path: room(...floor), pathNot: room(name), ...(name === 'cli' && { dynamic: false }) },
  })),
)

module.exports = {
  forbidden: [
    {
      name: 'circle',
      comment: 'Files import in one direction.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    ...upwards,
    ...sideways,
    only('core-is-pure', 'core has no I/O: it imports only itself.', room('core'), room('core')),
    only(
      'contract',
      'The contract is types, names and message definitions: it imports only core and the SDK.',
      room('contract'),
      room('contract', 'core'),
      'node_modules/@temporalio/(workflow|common)/',
    ),
    only(
      'workflows-are-replayed',
      'A workflow must be deterministic: it imports only core, the contract and the workflow SDK.',
      room('workflows'),
      room('workflows', 'contract', 'core'),
      'node_modules/@temporalio/(workflow|common)/',
    ),
    {
      name: 'dev-by-need',
      comment: 'Development tools are loaded by the command line alone, by import().',
      severity: 'error',
      from: { path: '^src/', pathNot: room('dev') },
      to: { path: room('dev'), dynamic: false },
    },
    {
      name: 'trials-from-product',
      comment: 'The product does not know the programs that measure and attack it.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(trials|test)/' },
    },
    {
      name: 'unresolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default'],
    },
    tsConfig: { fileName: 'tsconfig.json' },
    exclude: { path: '\\.css$' },
  },
}
