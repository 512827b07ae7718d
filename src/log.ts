import pino from 'pino'

/** Structured logs on standard error; readable ones where a person watches. Neither holds an event's content. */
export const logger = pino(
  // An error's message is none of its enumerable fields: without the serializer only its name would be seen.
  { level: process.env.LOG_LEVEL ?? 'info', base: {}, serializers: { error: pino.stdSerializers.err } },
  process.stderr.isTTY
    ? pino.transport<Record<string, unknown>>({
        target: 'pino-pretty',
        options: { destination: 2, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss' },
      })
    : pino.destination({ dest: 2, sync: true }),
)

export type Logger = typeof logger
