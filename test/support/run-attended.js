// Runs a server, given as JSON of a Command, until standard input ends: with the process that started it, however that
// one ended. Then the folder that is the second argument goes too.
const { spawn } = require('node:child_process')
const { rmSync } = require('node:fs')

const [command, folder, signal] = process.argv.slice(2)
const { file, args, environment, cwd, uid, gid } = JSON.parse(command)
const server = spawn(file, args, { env: environment, cwd, uid, gid, stdio: ['ignore', 'inherit', 'inherit'] })
process.stdin.resume().on('end', () => server.kill(signal))
process.on('SIGINT', () => undefined)
server.on('exit', code => {
  rmSync(folder, { recursive: true, force: true })
  process.exit(code ?? 1)
})
