/** Milliseconds. A signal to a process group comes twice: once by itself, and once more passed on by make. */
const SAME_SIGNAL = 1_000

/** Aborts on the first SIGINT or SIGTERM; the next one, unless it is the same one again, exits at once. */
export function interruption(): AbortSignal {
  const controller = new AbortController()
  let first = 0
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (!controller.signal.aborted) {
        first = performance.now()
        controller.abort()
      } else if (performance.now() - first > SAME_SIGNAL) process.exit(130)
    })
  }
  return controller.signal
}
