const { appendFileSync } = require('node:fs')

// For `node --require`: when the process or a thread of it ends, what it has loaded is written to LOADED_MODULES.
process.on('exit', () => {
  appendFileSync(process.env.LOADED_MODULES, `${Object.keys(require.cache).join('\n')}\n`)
})
