// Runs `web-traffic cluster …` from its sources in a separate process.
const { readFileSync } = require('node:fs')
const { transformSync } = require('@swc/core')

const options = { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } }
require.extensions['.ts'] = (module, filename) => {
  const source = readFileSync(filename, 'utf8')
  module._compile(transformSync(source, { ...options, filename }).code, filename)
}

const { clusterCommand } = require('../../../src/dev/cluster-command.ts')

clusterCommand()
  .parseAsync(process.argv.slice(2), { from: 'user' })
  .catch(error => {
    console.error(error.message)
    process.exitCode = 1
  })
