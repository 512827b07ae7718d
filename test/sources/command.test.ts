import { describe, expect, it } from '@jest/globals'
import { produceCommand } from '../../src/cli/produce'
import { UserError } from '../../src/errors'

const run = (...options: string[]) => produceCommand().parseAsync(['node', 'produce', ...options])

describe('web-traffic produce rejects in one line', () => {
  it.each([
    ['', 'Pass one source: --access-log FILE, --ndjson FILE or --synthetic.'],
    ['--synthetic --ndjson f', 'Pass one source: --access-log FILE, --ndjson FILE or --synthetic.'],
    ['--access-log f', 'Pass --host NAME: an access log does not name its site.'],
    ['--ndjson f --host h', '--host is for --access-log only.'],
    ['--ndjson f --late 0.1', '--late is for --synthetic only.'],
    ['--synthetic --rate 1 --speed 2', '--speed is for --access-log and --ndjson only.'],
    ['--synthetic', 'Pass --events N or --rate N with --synthetic.'],
    ['--synthetic --events 1 --rate 1', 'Pass --events N or --rate N with --synthetic.'],
    ['--synthetic --events 1 --for 1s', '--for is for --rate only.'],
    ['--synthetic --rate 1 --span 1h', '--span is for --events only.'],
    [
      '--synthetic --events 1 --start 2999-01-01T00:00:00Z',
      '--start plus --span is in the future: pass an earlier start or a shorter span.',
    ],
    ['--ndjson no-such-file', 'Cannot read no-such-file: no such file.'],
    [
      '--synthetic --events 1 --brokers kafka',
      '"kafka" is not a broker address. Write HOST:PORT in --brokers or KAFKA_URL.',
    ],
    [
      '--synthetic --events 1 --brokers 127.0.0.1:1',
      'No Kafka broker answers at 127.0.0.1:1: start one with "web-traffic cluster up", or set KAFKA_URL.',
    ],
  ])('%s', async (options, message) => {
    await expect(run(...options.split(' ').filter(Boolean))).rejects.toThrow(new UserError(message))
  })
})
