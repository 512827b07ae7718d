import { run } from './run'

void run(process.argv.slice(2)).then(exitNow => {
  if (exitNow) process.exit()
})
