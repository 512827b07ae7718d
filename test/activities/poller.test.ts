import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, jest, test } from '@jest/globals'
import { Poller } from '../../src/activities/poller'
import { UnreadableBatches } from '../../src/activities/unreadable-batches'
import type { LogRecord } from '../../src/core/event/log-record'
import type { PipelineSettings } from '../../src/core/settings'
import { logger } from '../../src/log'
import { PollerMetrics } from '../../src/telemetry/poller-metrics'
import { MINUTE, record, rowsOf, rules, T0 } from '../core/support'
import { MemoryMeter } from '../telemetry/memory-meter'
import { newSettings } from '../support/settings'
import { until } from '../support/until'
import { MemoryLog, MemoryPipeline } from './support'

const silent = logger.child({}, { level: 'silent' })
const IDLE = 200
const RETRY_AFTER = 1_000

/** Events one second apart, from `at` on. */
const events = (count: number, at = T0): LogRecord[] =>
  Array.from({ length: count }, (_, i) => record(0, { at: at + i * 1_000 }))

/** An event of now, whose window stays open longer than any test. */
const current = (): LogRecord => ({ ...record(0, { at: Date.now() }), timestamp: Date.now() })

class Setup {
  readonly settings: PipelineSettings
  readonly log: MemoryLog
  readonly pipeline: MemoryPipeline
  poller: Poller
  readonly meter = new MemoryMeter()
  readonly unreadable = new UnreadableBatches(silent, RETRY_AFTER)
  private running: Promise<number> | undefined

  constructor(
    private readonly partitionCount: number,
    fields: Partial<PipelineSettings> = {},
  ) {
    this.settings = newSettings({ idleTimeout: IDLE, flushInterval: 50, ...fields })
    this.log = new MemoryLog(partitionCount)
    this.pipeline = new MemoryPipeline(this.settings)
    this.poller = this.newPoller()
  }

  private newPoller(): Poller {
    const { settings, log, pipeline, unreadable } = this
    const metrics = new PollerMetrics(this.meter)
    const onProgress = () => undefined
    const poller = new Poller({
      settings,
      number: 1,
      rules,
      log,
      pipeline,
      logger: silent,
      onProgress,
      metrics,
      unreadable,
    })
    log.poller = poller
    return poller
  }

  /** The error that the poller fails with. */
  failure(): Promise<Error | undefined> {
    return this.running!.then(
      () => undefined,
      (error: Error) => error,
    )
  }

  /** Starts a new poller, like the next attempt of the activity. */
  async restart(): Promise<void> {
    const claims = this.pipeline.claims.length
    this.poller = this.newPoller()
    await this.start(claims)
  }

  /** Runs the poller until it has claimed all partitions. */
  async start(claims = 0): Promise<void> {
    this.running = this.poller.run()
    this.running.catch(() => undefined)
    started.add(this)
    this.poller.onAssigned(Array.from({ length: this.partitionCount }, (_, partition) => partition))
    await until(() => this.pipeline.claims.length > claims)
  }

  async drain(): Promise<number> {
    this.poller.drain()
    return (await this.running)!
  }

  position(partition: number): number | undefined {
    return this.pipeline.ledger.snapshot().partitions[partition]?.position
  }
}

const started = new Set<Setup>()

afterEach(async () => {
  for (const setup of started) await setup.drain().catch(() => undefined)
  started.clear()
})

test('a range is announced before its deltas are sent, and reported done after they are accepted', async () => {
  const setup = new Setup(2)
  const { log, pipeline } = setup
  pipeline.before.send = () => sleep(30)
  pipeline.before.flush = () => sleep(10)
  await setup.start()
  for (let i = 0; i < 10; i++) {
    log.append(0, events(100, T0 + i * MINUTE))
    log.append(1, events(50, T0 + i * MINUTE))
    await sleep(30)
  }
  await until(() => setup.position(0) === 1_000 && setup.position(1) === 500)

  expect(pipeline.hits).toBe(1_500)
  for (const partition of [0, 1]) {
    const announced = pipeline.of('announced', partition).map(({ offset }) => offset)
    const done = pipeline.of('done', partition).map(({ offset }) => offset)
    expect(announced.length).toBeGreaterThan(3)
    // Each range ends where the next one begins.
    expect(done.slice(0, announced.length - 1)).toEqual(announced.slice(1))
    announced.forEach((from, i) => {
      const of = ({ kind, partition: p, offset }: (typeof pipeline.events)[0]) =>
        p === partition && offset === (kind === 'done' ? done[i] : from) ? kind : undefined
      const order = pipeline.events.map(of).filter(kind => kind !== undefined)
      expect(order.slice(order.indexOf('announced')).join(' ')).toMatch(/^announced( sending)+( sent)+ done$/)
    })
  }
})

test('nothing is sent of a partition that the ledger refused', async () => {
  const setup = new Setup(2)
  const { log, pipeline } = setup
  await setup.start()
  pipeline.ledger.claim({ poller: 2, partitionCount: 2, partitions: [{ partition: 1, earliest: 0 }] })
  log.append(0, events(10))
  log.append(1, events(10))
  await until(() => setup.position(0) === 10 && log.isPaused(1))
  // Those of the refused partition are not among the records that it has done.
  expect(await setup.drain()).toBe(10)
  expect(pipeline.of('sending', 1)).toEqual([])
  expect(pipeline.of('done', 1)).toEqual([])
  expect(setup.position(1)).toBe(0)
  expect(pipeline.hits).toBe(10)
  // The other poller counts the dropped records.
  expect(setup.meter.value('web_traffic_refused_partitions')).toBe(1)
  expect(setup.meter.value('web_traffic_records')).toBe(10)
})

test('metrics count skipped records, gaps, unanswered requests and failed commits', async () => {
  const setup = new Setup(1)
  const { log, poller, meter } = setup
  await setup.start()
  log.append(0, events(10))
  await until(() => setup.position(0) === 10)

  const fetch = (partition: number, fetchedFrom: number) => {
    const next = fetchedFrom + 4
    const record = (index: number) => events(4)[index]!
    return poller.onRecords(
      { partition, fetchedFrom, next, removed: [], high: next, length: 4, record },
      () => Promise.resolve(),
    )
  }
  await fetch(0, 2)
  await fetch(7, 0)
  expect(meter.value('web_traffic_passed_over', { reason: 'done' })).toBe(4)
  expect(meter.value('web_traffic_passed_over', { reason: 'not_held' })).toBe(4)
  expect(meter.value('web_traffic_fetch_gaps')).toBe(0)
  await fetch(0, 11)
  expect(meter.value('web_traffic_fetch_gaps')).toBe(1)

  expect(meter.value('web_traffic_kafka_unanswered')).toBe(0)
  log.down = true
  await until(() => meter.value('web_traffic_kafka_unanswered')! > 0)
  log.down = false
  log.commit = () => Promise.reject(new Error('no longer a member'))
  await setup.drain()
  expect(meter.value('web_traffic_offset_commit_failures')).toBe(1)
  expect(meter.value('web_traffic_records')).toBe(10)
  expect(meter.value('web_traffic_hits')).toBe(10)
  expect(meter.records('web_traffic_flush_records')).toEqual([10])
  expect(meter.records('web_traffic_flush_windows')).toEqual([1])
})

test('a range that another poller left announced is read again exactly to its end, and counts once', async () => {
  const setup = new Setup(1)
  const { log, pipeline } = setup
  const request = { poller: 2, partitionCount: 1 }
  pipeline.ledger.claim({ ...request, partitions: [{ partition: 0, earliest: 0 }] })
  const announce = { from: 0, to: 7, windows: [T0] }
  pipeline.ledger.flush({ ...request, partitions: [{ partition: 0, epoch: 1, announce }] }, Date.now())
  const counts = { hosts: ['a.example'], referrers: [''], countries: ['DE'], rows: rowsOf([0, 0, 0, 7]) }
  pipeline.receive(T0, { partition: 0, from: 0, basis: null, first: 0, last: 6, hits: 7, ...counts })

  log.append(0, events(3))
  await setup.start()
  const asked = log.asked.length
  await until(() => log.taken(0) === 3 && log.asked.length > asked + 5)
  expect(pipeline.of('announced')).toEqual([])
  log.append(0, events(17))
  await until(() => setup.position(0) === 20)
  expect(pipeline.of('done', 0)[0]).toMatchObject({ offset: 7 })
  expect(pipeline.hits).toBe(20)
  expect(pipeline.windows.get(T0)).toMatchObject({ repeats: 1, overlaps: [] })
})

test('a fetch in progress stops when its partition is claimed again, and no record is skipped', async () => {
  const setup = new Setup(1, { flushInterval: 60_000 })
  const { log, pipeline, poller } = setup
  await setup.start()
  // The poller sends a heartbeat to the group after each slice.
  const slices: (() => void)[] = []
  log.beat = () => new Promise(resolve => slices.push(resolve))
  log.append(0, new Array<LogRecord>(10_000).fill(record(0, { at: T0 })))
  await until(() => slices.length === 1)

  let answer: (() => void) | undefined
  pipeline.before.claim = () => new Promise<void>(resolve => (answer = resolve))
  poller.onAssigned([0])
  await until(() => answer !== undefined)
  // These records come after the last flush and before the claim, so they are read again.
  slices[0]!()
  await until(() => slices.length === 2)
  answer!()
  await until(() => pipeline.ledger.snapshot().partitions[0]!.epoch === 2)
  log.beat = () => Promise.resolve()
  slices[1]!()
  await until(() => log.taken(0) === 10_000)
  await setup.drain()
  expect(pipeline.ledger.totals).toMatchObject({ records: 10_000, hits: 10_000 })
  expect(pipeline.hits).toBe(10_000)
  expect(setup.position(0)).toBe(10_000)
})

test('a partition that was fetched with a gap is claimed again, even under load in other partitions', async () => {
  const setup = new Setup(2)
  const { log, pipeline, poller } = setup
  // There is always something to flush.
  pipeline.before.flush = () => sleep(20)
  pipeline.before.send = () => sleep(20)
  await setup.start()
  const traffic = setInterval(() => log.append(0, events(5)), 5)
  try {
    await until(() => pipeline.of('done', 0).length > 0)
    const one = events(1)[0]!
    const fetch = { partition: 1, fetchedFrom: 50, next: 51, removed: [], high: 51, length: 1 }
    await poller.onRecords({ ...fetch, record: () => one }, () => Promise.resolve())
    await until(() => pipeline.claims.length === 2, 15_000)
    const { position } = pipeline.ledger.snapshot().partitions[0]!
    await until(() => setup.position(0)! > position)
  } finally {
    clearInterval(traffic)
  }
})

test('idle partitions are checked even if flushes take longer than their interval', async () => {
  const setup = new Setup(2)
  const { log, pipeline } = setup
  pipeline.before.flush = () => sleep(300)
  await setup.start()
  const traffic = setInterval(() => log.append(0, events(1)), 5)
  try {
    await until(() => pipeline.of('done', 0).length > 0)
    const asked = log.asked.length
    const flushes = pipeline.of('done', 0).length
    await until(() => log.asked.length >= asked + 10 && pipeline.of('done', 0).length >= flushes + 5)
  } finally {
    clearInterval(traffic)
  }
})

test('a drain flushes pending records, reports them done and commits', async () => {
  const setup = new Setup(1, { flushInterval: 60_000 })
  const { log, pipeline } = setup
  await setup.start()
  // The first event of a partition is flushed at once.
  log.append(0, events(1))
  await until(() => setup.position(0) === 1)
  log.append(0, events(10))
  await until(() => log.taken(0) === 11)
  expect(setup.position(0)).toBe(1)

  expect(await setup.drain()).toBe(11)
  expect(pipeline.hits).toBe(11)
  expect(pipeline.ledger.snapshot().partitions[0]).toMatchObject({
    position: 11,
    announcedTo: null,
    totals: { records: 11, hits: 11 },
  })
  expect(log.isPaused(0)).toBe(true)
  expect(log.committed.get(0)).toBe(11)
})

test('while a flush hangs, records are read up to a bound, and heartbeats to the group continue', async () => {
  const setup = new Setup(1)
  const { log, pipeline } = setup
  let answer!: () => void
  const answered = new Promise<void>(resolve => (answer = resolve))
  let hanging = false
  pipeline.before.flush = () => {
    hanging = true
    return answered
  }
  await setup.start()
  log.append(0, events(10))
  await until(() => hanging)
  const one = record(0, { at: T0 })
  log.append(0, new Array<LogRecord>(300_000).fill(one))
  await until(() => log.taken(0) === 200_010)
  const before = log.heartbeats
  const full = Date.now()
  await until(() => log.heartbeats >= before + 2 && Date.now() > full + 2_000)
  expect(log.taken(0)).toBe(200_010)
  expect(pipeline.hits).toBe(0)

  answer()
  await until(() => setup.position(0) === 300_010)
  expect(pipeline.hits).toBe(300_010)
})

test('a partition waits at a batch that cannot be read and is read again from there, while others go on', async () => {
  const setup = new Setup(2)
  const { log, unreadable } = setup
  for (const partition of [0, 1]) log.append(partition, events(10))
  await setup.start()
  await until(() => setup.position(0) === 10 && setup.position(1) === 10)
  log.pause([0])
  unreadable.found({ partition: 0, offset: 10, codec: 'lz4', problem: 'is corrupt' })
  for (const partition of [0, 1]) log.append(partition, events(5))
  await until(() => setup.position(1) === 15)
  expect(setup.position(0)).toBe(10)
  expect(unreadable.all).toHaveLength(1)
  await until(() => setup.position(0) === 15)
  expect(unreadable.all).toEqual([])
})

test('the end of a backlog does not wait for the flush interval', async () => {
  const setup = new Setup(2, { flushInterval: 60_000 })
  const { log, pipeline } = setup
  const one = record(0, { at: T0 })
  log.append(0, new Array<LogRecord>(230_000).fill(one))
  log.append(1, new Array<LogRecord>(30_000).fill(one))
  await setup.start()
  await until(() => pipeline.hits === 260_000)
})

test('with many pollers each one flushes less often, so that no window receives too many signals', async () => {
  const OTHERS = 9
  const setup = new Setup(1)
  const { log, pipeline } = setup
  for (let poller = 2; poller < 2 + OTHERS; poller++) {
    const partitions = [{ partition: poller, earliest: 0 }]
    pipeline.ledger.claim({ poller, partitionCount: 2 + OTHERS, partitions })
  }
  await setup.start()
  log.append(0, events(1))
  await until(() => pipeline.of('announced').length === 1)
  log.append(0, events(1))
  await until(() => pipeline.of('announced').length === 2)
  const [first, second] = pipeline.of('announced')
  // Ten pollers and five signals a second make two seconds, instead of the 50 ms of the setting.
  expect(second!.at - first!.at).toBeGreaterThanOrEqual(1_900)
})

test('an idle claim carries the time at which the end of the partition was looked up', async () => {
  const setup = new Setup(1)
  const { log, pipeline } = setup
  await setup.start()
  let lookedUp = 0
  pipeline.before.awaited = () => {
    lookedUp ||= log.asked.at(-1)!
    return sleep(60)
  }
  const appended = Date.now()
  // Its window was over long ago, and only silence can close it.
  log.append(0, events(10))
  await until(() => pipeline.of('idle').length > 0)
  const [claim] = pipeline.of('idle')
  expect(claim).toMatchObject({ partition: 0, offset: 10 })
  expect(claim!.at).toBeLessThanOrEqual(lookedUp)
  // The poller knows the ledger's time to a few milliseconds.
  expect(claim!.at).toBeGreaterThanOrEqual(appended + IDLE - 20)
  // It is claimed once, because the claim is valid until the next record.
  const heard = pipeline.of('awaited').length
  await until(() => pipeline.of('awaited').length >= heard + 3)
  expect(pipeline.of('idle')).toHaveLength(1)
  expect(pipeline.ledger.takeDue(Date.now()).close).toEqual([T0])
})

test('a silent partition is not claimed idle while no window waits for it', async () => {
  const setup = new Setup(1)
  const { log, pipeline } = setup
  await setup.start()
  log.append(0, [current()])
  await until(() => setup.position(0) === 1)
  await until(() => pipeline.of('awaited').length >= 5)
  expect(pipeline.of('idle')).toEqual([])
})

test('a clock that is ahead, and one that is set back, changes neither idle claims nor flushes', async () => {
  const setup = new Setup(2)
  const { log, pipeline } = setup
  log.append(0, [current()])
  const now = Date.now.bind(Date)
  const clock = jest.spyOn(Date, 'now').mockImplementation(() => now() + 60 * MINUTE)
  try {
    await setup.start()
    await until(() => setup.position(0) === 1)
    await until(() => pipeline.of('awaited').length >= 5)
    expect(pipeline.of('idle')).toEqual([])

    clock.mockImplementation(() => now() - 60 * MINUTE)
    const asked = log.asked.length
    // Of a window that is over.
    log.append(1, events(1))
    await until(() => setup.position(1) === 1 && log.asked.length > asked)
    await until(() => pipeline.of('idle').length > 0)
    expect(pipeline.of('idle')[0]!.at).toBeGreaterThan(now() - MINUTE)
  } finally {
    clock.mockRestore()
  }
})

test('after an outage of the broker the quiet time starts again', async () => {
  const setup = new Setup(1)
  const { log, pipeline } = setup
  await setup.start()
  log.append(0, [current()])
  await until(() => pipeline.of('awaited').length > 0)

  log.down = true
  const asked = log.asked.length
  await until(() => log.asked.length >= asked + 2)
  const gone = Date.now()
  await until(() => Date.now() > gone + 2 * IDLE)
  const heard = pipeline.of('awaited').length
  const back = Date.now()
  log.down = false
  await until(() => pipeline.of('awaited').length > heard)
  expect(pipeline.of('awaited')[heard]!.at).toBeGreaterThanOrEqual(back + IDLE)
})

describe('a different log of the same name', () => {
  /** The same {@link events}, each with a key. */
  const keyed = (count: number): LogRecord[] => events(count).map(event => ({ ...event, keySize: 7 }))
  const refusal =
    /^Partition 0 of "web_traffic_topic" is not the log that was read: at offset 9 .* "web-traffic accept-log --partition 0"/

  /** A pipeline that was stopped after ten records. */
  async function stopped(): Promise<Setup> {
    const setup = new Setup(1)
    await setup.start()
    setup.log.append(0, events(10))
    await until(() => setup.position(0) === 10)
    await setup.drain()
    return setup
  }

  test('that is longer is refused at every attempt, before anything of it is counted', async () => {
    const setup = await stopped()
    setup.log.replace(0, keyed(30))
    for (let attempt = 1; attempt <= 3; attempt++) {
      await setup.restart()
      expect((await setup.failure())?.message).toMatch(refusal)
      setup.log.append(0, keyed(5))
    }
    expect(setup.position(0)).toBe(10)
    expect(setup.pipeline.hits).toBe(10)
    expect(setup.pipeline.of('announced')).toHaveLength(1)
  })

  test('that is equally long is refused, and not claimed idle', async () => {
    const setup = await stopped()
    setup.log.replace(0, keyed(10))
    await setup.restart()
    expect((await setup.failure())?.message).toMatch(refusal)
    expect(setup.pipeline.of('idle')).toEqual([])
  })

  test('that is shorter is refused, even after it has grown', async () => {
    const setup = new Setup(1)
    await setup.start()
    setup.log.append(0, events(10))
    await until(() => setup.position(0) === 10)
    setup.log.replace(0, keyed(4))
    expect((await setup.failure())?.message).toMatch(
      /ends at offset 4, but it was read to offset 10\. .*accept-log/,
    )
    setup.log.append(0, keyed(20))
    await setup.restart()
    expect((await setup.failure())?.message).toMatch(refusal)
    expect(setup.pipeline.hits).toBe(10)
  })

  test('is detected while reading, if the log has grown beyond the position before its end is looked up', async () => {
    const setup = new Setup(1, { idleTimeout: 60_000 })
    await setup.start()
    setup.log.append(0, events(10))
    await until(() => setup.position(0) === 10)
    // kafkajs starts at the earliest offset if the position is out of range.
    setup.log.replace(0, keyed(30), 0)
    expect((await setup.failure())?.message).toMatch(refusal)
    expect(setup.position(0)).toBe(10)
  })

  test('of a new leader is detected while reading, and the same log of a new leader is read on', async () => {
    const ledBy = (leaderEpoch: number, records: LogRecord[]) =>
      records.map(record => ({ ...record, leaderEpoch }))
    const setup = new Setup(1, { idleTimeout: 60_000 })
    await setup.start()
    setup.log.append(0, ledBy(1, events(10)))
    await until(() => setup.position(0) === 10)
    setup.log.append(0, ledBy(2, events(10)))
    await until(() => setup.position(0) === 20)
    expect(setup.pipeline.hits).toBe(20)
    // The next leader had only 15 of the records.
    setup.log.replace(0, [...ledBy(1, events(10)), ...ledBy(2, events(5)), ...ledBy(3, events(10))])
    expect((await setup.failure())?.message).toMatch(
      /at offset 19 a record .*leader epoch 2\).*leader epoch 3\)/,
    )
    expect(setup.position(0)).toBe(20)
    expect(setup.pipeline.hits).toBe(20)
  })

  test('is read from the position on after it was accepted', async () => {
    const setup = await stopped()
    setup.log.replace(0, keyed(30))
    await setup.restart()
    await setup.failure()
    setup.pipeline.ledger.acceptLog({ partition: 0 })
    await setup.restart()
    await until(() => setup.position(0) === 30)
    expect(setup.pipeline.hits).toBe(30)
    expect(setup.pipeline.of('announced', 0).map(({ offset }) => offset)).toEqual([0, 10])
  })

  test('that was accepted and ends before the position does not keep windows open until it has grown', async () => {
    const setup = await stopped()
    setup.log.replace(0, keyed(4))
    setup.pipeline.ledger.acceptLog({})
    await setup.restart()
    await until(() => setup.pipeline.of('idle').length > 0)
    expect(setup.pipeline.ledger.takeDue(0).close).toEqual([T0])
    setup.log.append(0, keyed(11))
    await until(() => setup.position(0) === 15)
    expect(setup.pipeline.hits).toBe(15)
    // From here on it is checked like any other log.
    await setup.drain()
    setup.log.replace(0, events(30))
    await setup.restart()
    expect((await setup.failure())?.message).toMatch(/at offset 14 /)
  })

  test('is not suspected after compaction or retention', async () => {
    for (const change of ['compact', 'removeBefore'] as const) {
      const setup = await stopped()
      if (change === 'compact') setup.log.compact(0, 9)
      else setup.log.removeBefore(0, 10)
      await setup.restart()
      setup.log.append(0, events(5))
      await until(() => setup.position(0) === 15)
      expect(setup.pipeline.hits).toBe(15)
      await setup.drain()
    }
  })

  test('is not suspected if nothing is new, and the window closes', async () => {
    const setup = await stopped()
    await setup.restart()
    await until(() => setup.pipeline.of('idle').length > 0)
    expect(setup.pipeline.ledger.takeDue(0).close).toEqual([T0])
    expect(await setup.drain()).toBe(0)
    expect(setup.pipeline.of('announced')).toHaveLength(1)
  })

  test('does not count through a fetch from before the claim: the last done record is compared first', async () => {
    const setup = await stopped()
    const begin = setup.log.begin.bind(setup.log)
    let go!: () => void
    setup.log.begin = positions => (go = () => begin(positions))
    await setup.restart()
    await until(() => go !== undefined)
    const fetch = { partition: 0, fetchedFrom: 10, next: 14, removed: [], high: 14, length: 4 }
    const stale = keyed(14)
    await setup.poller.onRecords({ ...fetch, record: i => ({ ...stale[i]!, offset: 10 + i }) }, () =>
      Promise.resolve(),
    )
    expect(setup.pipeline.of('announced')).toHaveLength(1)
    setup.log.append(0, events(4))
    go()
    await until(() => setup.position(0) === 14)
    expect(setup.pipeline.hits).toBe(14)
  })

  test('is not suspected if retention removes records between the claim and the first fetch', async () => {
    const setup = await stopped()
    const begin = setup.log.begin.bind(setup.log)
    setup.log.begin = positions => {
      setup.log.begin = begin
      setup.log.removeBefore(0, 10)
      begin(positions)
    }
    await setup.restart()
    setup.log.append(0, events(5))
    await until(() => setup.position(0) === 15, 15_000)
    expect(setup.pipeline.hits).toBe(15)
  })
})
