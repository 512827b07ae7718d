// Runs commands of `web-traffic` for a test, one after another, in a process that has their modules loaded already.
const { run } = require('../../dist/src/cli/run.js')

const exit = process.exit
process.on('disconnect', () => exit())

process.on('message', async ({ args, environment }) => {
  process.env = { ...environment }
  process.exitCode = undefined
  const printed = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'])
    process[stream].write = (text, encoding, done) => {
      printed[stream] += text
      const callback = typeof encoding === 'function' ? encoding : done
      callback?.()
      return true
    }
  // The command ends here: what it prints while it unwinds is not its output.
  let outcome
  process.exit = (code = process.exitCode) => {
    outcome ??= { ...printed, code: code ?? 0 }
    throw new Error('exit')
  }
  await run(args)
  for (const signal of ['SIGINT', 'SIGTERM']) process.removeAllListeners(signal)
  process.send(outcome ?? { ...printed, code: process.exitCode ?? 0 })
})
