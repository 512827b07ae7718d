import pino from 'pino'

/** Structured logs on standard error, readable ones on a terminal. Neither contains anything from an event. */
export const logger = pino(
  // Without the serializer an error would be logged as `{}`: its message is not enumerable.
  { level: process.env.LOG_LEVEL ?? 'info', base: {}, serializers: { error: pino.stdSerializers.err } },
  process.stderr.isTTY
    ? pino.transport<Record<string, unknown>>({
        target: 'pino-pretty',
        options: { destination: 2, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss' },
      })
    : pino.destination({ dest: 2, sync: true }),
)

export type Logger = typeof logger
