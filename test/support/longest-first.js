const { relative } = require('node:path')
const { default: Sequencer } = require('@jest/test-sequencer')

/**
 * Files that take longest begin first, so that none is left to run alone at the end. Jest knows how long a file took
 * only where it has run before; these are seconds on two cores, and nothing but their order matters.
 */
const SECONDS = {
  'test/pipeline/identical.test.ts': 219,
  'test/chaos/chaos.test.ts': 185,
  'test/pipeline/million.test.ts': 182,
  'test/bench/bench.test.ts': 150,
  'test/pipeline/event-time.test.ts': 135,
  'test/workflows/window.test.ts': 126,
  'test/pipeline/access-log.test.ts': 104,
  'test/dashboard/away.test.ts': 101,
  'test/metrics/pipeline.test.ts': 101,
  'test/cli/errors.test.ts': 99,
  'test/pipeline/start.test.ts': 98,
  'test/pipeline/enrichment.test.ts': 96,
  'test/pipeline/kafka-oddities.test.ts': 87,
  'test/security/connections.test.ts': 84,
  'test/dashboard/live.test.ts': 82,
  'test/pipeline/doctor.test.ts': 77,
  'test/deployment/image.test.ts': 76,
  'test/pipeline/large-windows.test.ts': 74,
  'test/pipeline/replay.test.ts': 70,
  'test/pipeline/roles.test.ts': 67,
  'test/dashboard/year.test.ts': 65,
  'test/pipeline/postgres-away.test.ts': 63,
  'test/pipeline/demo.test.ts': 58,
  'test/web-ui/web-ui.test.ts': 51,
  'test/cluster/cluster.test.ts': 50,
  'test/pipeline/lost-ledger.test.ts': 44,
  'test/pipeline/restore.test.ts': 39,
  'test/pipeline/bad-input.test.ts': 38,
  'test/workflows/ingest.test.ts': 37,
  'test/pipeline/health.test.ts': 31,
  'test/pipeline/refused-writes.test.ts': 30,
  'test/pipeline/maintain.test.ts': 29,
  'test/simulation/simulation.test.ts': 26,
}

module.exports = class LongestFirst extends Sequencer {
  sort(tests) {
    const seconds = ({ path, context }) => SECONDS[relative(context.config.rootDir, path)] ?? 0
    return super.sort(tests).sort((one, other) => seconds(other) - seconds(one))
  }
}
