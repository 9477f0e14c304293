import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  attempt,
  deadLetter,
  embedded,
  redrive,
  retryTopic,
  silentLogger,
  toTopic,
  type Cluster,
  type FailureHeaders,
  type RawRecord,
  type RecordStream,
  type RedriveOptions,
  type RedriveProgress,
} from '../../src/index.js'
import { redriveWith } from '../../src/redrive/redrive.js'
import { VirtualClock, createEmbeddedBroker, type EmbeddedBroker, type Fault } from '../../src/testing/index.js'
import { LETTER_TIME as T0, letter } from '../support/letters.js'
import { ANY_TIME, POISON, readAll } from '../support/poison.js'
import { until } from '../support/until.js'
import { runUntil, values } from '../support/pipelines.js'

/** All that makes a record what it is. */
const bytesOf = ({ key, value, timestamp, headers, origin }: RawRecord) => ({
  key: digest(key),
  value: digest(value),
  timestamp,
  partition: origin.partition,
  // The producer that it was sent back by is another each time.
  headers: Object.entries(headers).map(([name, of]) => [name, name === FROM ? Buffer.from(String(of as Buffer).replace(/@\d+$/, '')) : of]),
})
const FROM = 'millrace.redriven-from'
const digest = (part: Buffer | null) => (part === null ? null : createHash('sha256').update(part).digest('hex'))

describe('redrive', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 4, config: ANY_TIME },
      { topic: 'other', partitions: 2, config: ANY_TIME },
      { topic: 'dead', partitions: 3, config: ANY_TIME },
    ])
  })
  afterEach(() => cluster.close())

  const run = (options: Partial<RedriveOptions> = {}) => redrive(cluster, { from: 'dead', ...options })

  it('sends records of every kind back into the partition they came from, as they were before they failed', async () => {
    const records = Object.entries(POISON).flatMap(([name, kind], i) =>
      [0, 1].map((n) => ({ key: name, timestamp: T0 + i, ...kind, partition: (2 * i + n) % 4 })),
    )
    await cluster.produce({ topic: 'other', records: records.map((record) => ({ ...record, partition: 0 })) })
    await cluster.produce({ topic: 'in', records })
    const before = (await readAll(cluster, 'in')).map((record) => ({ ...bytesOf(record), id: record.id }))
    await runUntil(cluster, { group: 'g', topics: ['in'], records: records.length }, (all) =>
      all.pipe(
        attempt(() => Promise.reject(new Error('no'))),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'other' }),
      ),
    )
    expect(await run()).toMatchObject({
      complete: true,
      read: records.length,
      sent: records.length,
      parked: 0,
      skipped: 0,
      left: 0,
      unaddressed: 0,
      byTarget: { in: records.length },
      missing: [],
    })
    const after = (await readAll(cluster, 'in')).map(bytesOf)
    for (const partition of [0, 1, 2, 3]) {
      const own = before.filter((record) => record.partition === partition)
      // What an earlier failure left in the headers goes as well: it is no longer true.
      const expected = own.map(({ id, ...record }) => ({
        ...record,
        headers: [
          ...record.headers.filter(([name]) => !/^(millrace\.|kafka_dlt|__streams)/.test(name as string)),
          ['millrace.redriven', Buffer.from('1')],
          [FROM, Buffer.from(id)],
        ],
      }))
      expect(after.filter((record) => record.partition === partition).slice(own.length)).toEqual(expected)
    }
  })

  for (const preset of ['spring', 'streams'] satisfies FailureHeaders[]) {
    it(`understands the headers of ${preset}`, async () => {
      const records = [
        letter('a', { preset, topic: 'other', partition: 1, headers: { trace: 't' } }),
        letter('b', { preset, partition: 3, headers: { 'retry_topic-attempts': '3', 'kafka_dlt-exception-cause-fqcn': 'X' } }),
      ]
      await cluster.produce({ topic: 'dead', records: records.map((record) => ({ ...record, timestamp: T0 + 99 })) })
      expect(await run()).toMatchObject({
        sent: 2,
        byTarget: { in: 1, other: 1 },
        table: [{ outcome: 'send', error: 'TypeError', records: 1 }, { error: 'TypeError' }],
      })
      expect((await readAll(cluster, 'other')).map(bytesOf)).toMatchObject([
        {
          partition: 1,
          headers: [
            ['trace', Buffer.from('t')],
            ['millrace.redriven', Buffer.from('1')],
            [FROM, Buffer.from('other/1/0')],
          ],
          timestamp: T0,
        },
      ])
      expect((await readAll(cluster, 'in')).map(bytesOf)).toMatchObject([
        {
          partition: 3,
          headers: [
            ['millrace.redriven', Buffer.from('1')],
            [FROM, Buffer.from('in/3/0')],
          ],
        },
      ])
    })
  }

  it('what the filter leaves out stays for another run; nothing is sent twice', async () => {
    const errors = ['Timeout', 'TypeError', 'Timeout', 'Refused']
    await cluster.produce({
      topic: 'dead',
      records: Array.from({ length: 40 }, (_, i) => letter(String(i), { error: errors[i % 4] as string, into: i % 3 })),
    })
    const of = (...kinds: string[]): string[] =>
      Array.from({ length: 40 }, (_, i) => String(i))
        .filter((_, i) => kinds.includes(errors[i % 4] as string))
        .sort()
    expect(await run({ filter: { error: 'Timeout' } })).toMatchObject({ sent: 20, left: 20, skipped: 0 })
    expect(await values(cluster, 'in')).toEqual(of('Timeout'))
    expect(await run({ filter: { error: /^ref/i } })).toMatchObject({ sent: 10, left: 10, skipped: 20 })
    expect(await run({ filter: { error: 'Timeout' } })).toMatchObject({ sent: 0, left: 10, skipped: 30 })
    expect(await run()).toMatchObject({ sent: 10, left: 0, skipped: 30 })
    expect(await run()).toMatchObject({ sent: 0, skipped: 40, complete: true })
    expect(await values(cluster, 'in')).toEqual(of('Timeout', 'TypeError', 'Refused'))
  })

  it('a dry run writes and commits nothing, and tells what a run would do', async () => {
    await cluster.produce({
      topic: 'dead',
      records: [
        ...Array.from({ length: 30 }, (_, i) => letter(String(i), { into: i % 3, error: i % 3 === 0 ? 'A' : 'B' })),
        { value: 'no letter' },
        letter('often', { headers: { 'millrace.redriven': '3' } }),
      ],
    })
    const state = async () => [
      broker.offsets('dead.redrive'),
      broker.groups(),
      broker.openTransactions(),
      [...(await cluster.topics(['dead.redrive-redriven-changelog'])).keys()],
      await values(cluster, 'in'),
    ]
    const before = await state()
    const dry = await run({ dryRun: true })
    expect(await state()).toEqual(before)
    expect(dry).toEqual({
      dryRun: true,
      complete: true,
      read: 32,
      sent: 30,
      parked: 1,
      skipped: 0,
      left: 0,
      unaddressed: 1,
      byTarget: { in: 30, 'dead.parked': 1 },
      table: [
        { target: 'in', outcome: 'send', error: 'B', step: 'charge', records: 20 },
        { target: 'in', outcome: 'send', error: 'A', step: 'charge', records: 10 },
        { target: 'dead.parked', outcome: 'park', error: 'TypeError', step: 'charge', records: 1 },
      ],
      missing: ['dead.parked'],
    })
    await cluster.createTopics([{ topic: 'dead.parked' }])
    expect(await run()).toEqual({ ...dry, dryRun: false, missing: [] })
  })

  it('refuses targets that do not exist, by name, before anything is sent', async () => {
    await cluster.produce({
      topic: 'dead',
      records: [letter('a'), letter('b', { topic: 'gone' }), letter('c', { topic: 'away' }), letter('d', { topic: 'gone' })],
    })
    await expect(run()).rejects.toMatchObject({
      code: 'MISSING_TOPIC',
      message: expect.stringMatching(/nothing was sent.*'gone' \(2 records\), 'away' \(1 records\)/) as string,
    })
    expect(await values(cluster, 'in')).toEqual([])
    expect(await run({ to: 'other' })).toMatchObject({ sent: 4, byTarget: { other: 4 } })
  })

  it('parks what comes back again and again, and stops at the end as it was though records fail anew meanwhile', async () => {
    await cluster.createTopics([{ topic: 'dead.parked', config: ANY_TIME }])
    await cluster.produce({ topic: 'in', records: Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value: String(i) })) })
    const project = (all: Parameters<Parameters<typeof runUntil>[2]>[0]) =>
      all.pipe(
        attempt(() => Promise.reject(new Error('still'))),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'other' }),
      )
    const failing = runUntil(cluster, { group: 'g', topics: ['in'], records: 60 }, project)
    let parkings = 0
    await until(async () => (parkings += (await run({ maxRedrives: 2 })).parked) === 20, { what: 'all to be parked' })
    await failing
    const parked = await readAll(cluster, 'dead.parked')
    expect(parked.map(({ value }) => String(value)).sort()).toEqual(Array.from({ length: 20 }, (_, i) => String(i)).sort())
    for (const { headers } of parked)
      expect([String(headers['millrace.redriven']), String(headers['millrace.message'])]).toEqual(['2', 'still'])
    expect(await values(cluster, 'in')).toHaveLength(60)
  })

  it('what went through retry topics comes back to the topic it was first read from', async () => {
    await cluster.produce({ topic: 'in', records: [{ key: 'k', value: 'x', partition: 3, headers: { h: '1' } }] })
    const project = (all: RecordStream) =>
      all.pipe(
        attempt(() => Promise.reject(new Error('no'))),
        retryTopic({ delays: [1, 1] }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'other' }),
      )
    await runUntil(cluster, { group: 'g', topics: ['in'], records: 3, options: { provision: true } }, project)
    expect(await run()).toMatchObject({ sent: 1, byTarget: { in: 1 } })
    const [before, after] = (await readAll(cluster, 'in')).map(bytesOf)
    expect(after).toEqual({
      ...before,
      headers: [...(before?.headers ?? []), ['millrace.redriven', Buffer.from('1')], [FROM, Buffer.from(`in/${before?.partition}/0`)]],
    })
  })

  it('letters that tell nothing of where they came from, or came from the same topic, stay until one says where to', async () => {
    await cluster.produce({
      topic: 'dead',
      records: [{ key: 'k', value: 'plain', partition: 2, headers: { h: ['1', '2'] } }, letter('round', { topic: 'dead' }), letter('a')],
    })
    expect(await run()).toMatchObject({ sent: 1, unaddressed: 2, complete: true })
    expect(await run({ to: 'other' })).toMatchObject({ sent: 2, skipped: 1, unaddressed: 0 })
    const plain = (await readAll(cluster, 'other')).find(({ value }) => String(value) === 'plain')
    expect(Object.entries(plain?.headers ?? {}).map(([name, value]) => [name, String(value as Buffer)])).toEqual([
      ['h', '1,2'],
      ['millrace.redriven', '1'],
    ])
  })

  it('goes by the key where the partition is not there any more, and into that of the letter without a key', async () => {
    await cluster.produce({ topic: 'other', records: [{ key: 'k-a', value: 'by key' }] })
    const [byKey] = await readAll(cluster, 'other')
    await cluster.produce({
      topic: 'dead',
      records: [letter('a', { topic: 'other', partition: 7 }), { ...letter('b', { into: 1 }), key: null }],
    })
    expect(await run({ to: 'other' })).toMatchObject({ sent: 2 })
    const sent = (await readAll(cluster, 'other')).filter(({ headers }) => 'millrace.redriven' in headers)
    expect(Object.fromEntries(sent.map(({ value, origin }) => [String(value), origin.partition]))).toEqual({
      a: byKey?.origin.partition,
      b: 1,
    })
  })

  it('a limit takes the first so many, the next run the next', async () => {
    await cluster.produce({
      topic: 'dead',
      records: Array.from({ length: 25 }, (_, i) =>
        letter(String(i).padStart(2, '0'), { into: i % 3, error: i % 5 === 0 ? 'Other' : 'Timeout' }),
      ),
    })
    const sent: number[] = []
    for (let i = 0; i < 4; i++) sent.push((await run({ limit: 8, filter: { error: 'Timeout' } })).sent)
    expect(sent).toEqual([8, 8, 4, 0])
    expect((await values(cluster, 'in')).map(Number)).toEqual(Array.from({ length: 25 }, (_, i) => i).filter((i) => i % 5 !== 0))
    expect(await run()).toMatchObject({ sent: 5, skipped: 20 })
  })

  it('sends no more than the rate allows, by the clock of the cluster', async () => {
    const clock = new VirtualClock(T0)
    const broker = createEmbeddedBroker({ clock })
    const paced = embedded({ broker, clock, logger: silentLogger })
    const setUp = (async () => {
      await paced.createTopics(['in', 'dead'].map((topic) => ({ topic, partitions: 3, config: ANY_TIME })))
      await paced.produce({
        topic: 'dead',
        records: Array.from({ length: 200 }, (_, i) => letter(String(i), { into: i % 3, error: i % 2 === 0 ? 'A' : 'B' })),
      })
    })()
    await clock.advance('1s')
    await setUp
    let last: RedriveProgress | undefined
    const result = redrive(paced, { from: 'dead', filter: { error: 'A' }, rate: 10, onProgress: (progress) => (last = progress) })
    // The first transaction begins once the group is joined.
    while ((last?.sent ?? 0) === 0) await clock.advance('100ms')
    const sent: number[] = []
    for (let second = 0; second < 4; second++) {
      const before = last?.sent ?? 0
      await clock.advance('2s')
      sent.push((last?.sent ?? 0) - before)
    }
    // Two in a transaction, so that what is seen of them may lag by that much.
    for (const count of sent) expect(Math.abs(count - 20)).toBeLessThanOrEqual(2)
    expect(sent.reduce((a, b) => a + b)).toBeLessThanOrEqual(82)
    await clock.advance('30s')
    expect(await result).toMatchObject({ sent: 100, left: 100 })
    await paced.close()
  })

  it('a second one leaves the first alone until it has its place in the group; nothing is sent twice', async () => {
    const clock = new VirtualClock(T0)
    const broker = createEmbeddedBroker({ clock })
    const shared = embedded({ broker, clock, logger: silentLogger })
    const setUp = (async () => {
      await shared.createTopics(['in', 'dead'].map((topic) => ({ topic, partitions: 1, config: ANY_TIME })))
      await shared.produce({ topic: 'dead', records: Array.from({ length: 100 }, (_, i) => letter(String(i))) })
    })()
    await clock.advance('1s')
    await setUp
    let sent = 0
    const first = redrive(shared, { from: 'dead', rate: 5, onProgress: (progress) => (sent = progress.sent) }).catch(
      (error: unknown) => error,
    )
    while (sent === 0) await clock.advance('100ms')
    // The second one waits for its place, as it would for a slow coordinator.
    broker.faults.inject({ at: 'join', of: 'redrive', delayMs: 10_000 })
    const second = redrive(shared, { from: 'dead' })
    const before = sent
    await clock.advance('9s')
    expect(sent - before).toBeGreaterThan(40)
    await clock.advance('30s')
    expect(await first).toMatchObject({ code: 'INSTANCE_FENCED' })
    expect(await second).toMatchObject({ complete: true })
    expect(await values(shared, 'in')).toEqual(Array.from({ length: 100 }, (_, i) => String(i)).sort())
    await shared.close()
  })

  const faults: Readonly<Record<string, Fault[]>> = {
    'the answer to a commit lost, which took effect': [{ at: 'end', reaction: 'indeterminate', tookEffect: true, after: 2, times: 2 }],
    'the answer to a commit lost, which did not': [{ at: 'end', reaction: 'indeterminate', tookEffect: false, after: 2, times: 2 }],
    'a write refused': [{ at: 'produce', reaction: 'abort', after: 1, times: 3 }],
    'the producer fenced': [{ at: 'offsets', reaction: 'reinit', after: 2, times: 2 }],
    'the member lost': [{ at: 'offsets', reaction: 'lost', after: 3 }],
    'a rebalance': [
      { at: 'heartbeat', reaction: 'rejoin' },
      { at: 'offsets', reaction: 'rejoin', after: 2 },
    ],
  }
  for (const [what, injected] of Object.entries(faults)) {
    it(`each record once: ${what}`, async () => {
      await cluster.produce({
        topic: 'dead',
        records: Array.from({ length: 60 }, (_, i) => letter(String(i), { into: i % 3, partition: i % 4, error: i % 2 === 0 ? 'A' : 'B' })),
      })
      const armed = injected.map((fault) => broker.faults.inject(fault))
      const even = await redriveWith(cluster, { from: 'dead', filter: { error: 'A' } }, { every: 5, maxRecords: 10, retryDelay: 1 })
      const rest = await redriveWith(cluster, { from: 'dead' }, { every: 5, maxRecords: 10, retryDelay: 1 })
      expect(armed.some(({ hits }) => hits > 0)).toBe(true)
      expect([even, rest]).toMatchObject([
        { sent: 30, left: 30, skipped: 0 },
        { sent: 30, skipped: 30 },
      ])
      expect(await values(cluster, 'in')).toEqual(Array.from({ length: 60 }, (_, i) => String(i)).sort())
    })
  }

  it('a topic that was made anew is not taken for the one that was redriven', async () => {
    await cluster.produce({ topic: 'dead', records: Array.from({ length: 9 }, (_, i) => letter(String(i))) })
    await run()
    await cluster.deleteTopics(['dead'])
    await cluster.createTopics([{ topic: 'dead', partitions: 3 }])
    await cluster.produce({ topic: 'dead', records: [letter('new')] })
    await expect(run()).rejects.toMatchObject({
      code: 'STATE_MISMATCH',
      message: expect.stringMatching(
        /'dead' was made anew.*partition 0 ends at 1, and offset 8.*dead\.redrive-redriven-changelog/,
      ) as string,
    })
    expect(await run({ group: 'another' })).toMatchObject({ sent: 1 })
  })

  it('a record that the target refuses ends it, named; what was sent till then is not sent again', async () => {
    await cluster.createTopics([{ topic: 'small', config: { 'max.message.bytes': '500' } }])
    await cluster.produce({ topic: 'dead', records: ['a', 'b', 'x'.repeat(600), 'c'].map((value) => letter(value, { topic: 'small' })) })
    const refused = await redriveWith(cluster, { from: 'dead' }, { retries: 0 }).catch((error: unknown) => error)
    expect(refused).toMatchObject({
      code: 'RECORD_FAILED',
      origin: { topic: 'dead', partition: 0, offset: 2 },
      cause: { code: 'RECORD_TOO_LARGE' },
    })
    expect(await values(cluster, 'small')).toEqual(['a', 'b'])
    expect(await run({ filter: { key: 'k-c' } })).toMatchObject({ sent: 1, skipped: 2, left: 1 })
    expect(await values(cluster, 'small')).toEqual(['a', 'b', 'c'])
  })

  it('tells how far it is, and ends in order with the cluster', async () => {
    await cluster.produce({ topic: 'dead', records: Array.from({ length: 500 }, (_, i) => letter(String(i))) })
    const seen: RedriveProgress[] = []
    let closed: Promise<void> | undefined
    const result = await run({
      rate: 500,
      onProgress(progress) {
        seen.push(progress)
        if (progress.sent > 0) closed ??= cluster.close()
      },
    })
    await closed
    expect(seen[0]).toEqual({ phase: 'looking', read: 500, sent: 0, parked: 0, chosen: 500 })
    expect(
      seen.slice(1).every(({ phase, chosen, sent }, i, all) => phase === 'sending' && chosen === 500 && sent > (all[i - 1]?.sent ?? 0)),
    ).toBe(true)
    expect(result).toMatchObject({ complete: false, sent: seen.at(-1)?.sent })
    cluster = embedded({ broker, logger: silentLogger })
    expect(await values(cluster, 'in')).toHaveLength(result.sent)
    expect(await run()).toMatchObject({ complete: true, sent: 500 - result.sent })
  })

  it('refuses wrong options by name', async () => {
    const wrong = {
      from: 'dead',
      form: 1,
      to: 'dead',
      filter: { after: 'noon', error: 7, keys: [] },
      rate: -1,
      limit: 0.5,
      maxRedrives: 0,
      parked: 'a b',
      signal: {},
    } as unknown as RedriveOptions
    const { message } = (await redrive(cluster, wrong).catch((error: unknown) => error)) as Error
    for (const name of ["'form'", "'keys'", 'filter.after', 'filter.error', 'rate', 'limit', 'maxRedrives', 'parked', 'signal'])
      expect(message).toContain(name)
    await expect(run({ to: 'dead' })).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringMatching(/to: is the dead-letter topic itself/) as string,
    })
    await expect(run({ from: 'nowhere' })).rejects.toMatchObject({
      code: 'MISSING_TOPIC',
      message: expect.stringMatching(/'nowhere'/) as string,
    })
  })
})
