/*
 * For `node --require`: the process's time of day is ahead by CLOCK_AHEAD ms. SIGUSR2 sets it back, until it is behind by
 * as much.
 */
let ahead = Number(process.env.CLOCK_AHEAD)
process.on('SIGUSR2', () => {
  ahead = -ahead
})

const now = Date.now
Date.now = () => now() + ahead
globalThis.Date = new Proxy(Date, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length > 0 ? args : [target.now()], newTarget),
})
