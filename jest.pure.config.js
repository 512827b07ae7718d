const { globalSetup, globalTeardown, ...rest } = require('./jest.config')

/** The tests that need neither a server nor the build. */
module.exports = {
  ...rest,
  testMatch: [
    'config.test.ts',
    'activities/{intake,window-gate}.test.ts',
    'core/*.test.ts',
    'dashboard/{pipeline-now,span}.test.ts',
    'deployment/ci.test.ts',
    'dev/cluster/dynamic-config.test.ts',
    'geo/{country,fallback-lookup,remote-lookup}.test.ts',
    'simulation/*.test.ts',
    'sources/{access-log,synthetic}.test.ts',
    'trials/chaos/schedule.test.ts',
    'trials/sweep/points.test.ts',
  ].map(pattern => `**/test/${pattern}`),
}
