const all = require('./jest.config')

/** The tests that need neither a server nor the build. */
module.exports = {
  ...all,
  globalSetup: undefined,
  globalTeardown: undefined,
  testMatch: [
    'cli/options.test.ts',
    'config.test.ts',
    'activities/{intake,window-gate}.test.ts',
    'core/*.test.ts',
    'dashboard/{pipeline-summary,time-range}.test.ts',
    'deployment/ci.test.ts',
    'dev/cluster/dynamic-config.test.ts',
    'docs/*.test.ts',
    'geo/{country,fallback-lookup,remote-lookup}.test.ts',
    'kafka/codecs.test.ts',
    'lint/*.test.ts',
    'simulation/*.test.ts',
    'temporal/*.test.ts',
    'sources/{access-log,synthetic}.test.ts',
    'trials/chaos/schedule.test.ts',
    'trials/sweep/points.test.ts',
  ].map(pattern => `**/test/${pattern}`),
}
