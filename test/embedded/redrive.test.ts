import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { attempt, deadLetter, embedded, redrive, silentLogger, toTopic, type Cluster, type FailureHeaders, type RawRecord, type RedriveOptions } from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { LETTER_TIME as T0, letter } from '../support/letters.js'
import { ANY_TIME, POISON, readAll } from '../support/poison.js'
import { until } from '../support/until.js'
import { runUntil, values } from '../support/pipelines.js'

/** All that makes a record what it is. */
const bytesOf = ({ key, value, timestamp, headers, origin }: RawRecord) => ({ key: digest(key), value: digest(value), timestamp, partition: origin.partition, headers: Object.entries(headers) })
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
    const records = Object.entries(POISON).flatMap(([name, kind], i) => [0, 1].map((n) => ({ key: name, timestamp: T0 + i, ...kind, partition: (2 * i + n) % 4 })))
    await cluster.produce({ topic: 'other', records: records.map((record) => ({ ...record, partition: 0 })) })
    await cluster.produce({ topic: 'in', records })
    const before = (await readAll(cluster, 'in')).map(bytesOf)
    await runUntil(cluster, { group: 'g', topics: ['in'], records: records.length }, (all) => all.pipe(attempt(() => Promise.reject(new Error('no'))), deadLetter({ topic: 'dead' }), toTopic({ topic: 'other' })))
    expect(await run()).toMatchObject({ complete: true, read: records.length, sent: records.length, parked: 0, skipped: 0, left: 0, unaddressed: 0, byTarget: { in: records.length }, missing: [] })
    const after = (await readAll(cluster, 'in')).map(bytesOf)
    for (const partition of [0, 1, 2, 3]) {
      const own = before.filter((record) => record.partition === partition)
      // What an earlier failure left in the headers goes as well: it is no longer true.
      const expected = own.map((record) => ({ ...record, headers: [...record.headers.filter(([name]) => !/^(millrace\.|kafka_dlt|__streams)/.test(name)), ['millrace.redriven', Buffer.from('1')]] }))
      expect(after.filter((record) => record.partition === partition).slice(own.length)).toEqual(expected)
    }
  })

  for (const preset of ['spring', 'streams'] satisfies FailureHeaders[]) {
    it(`understands the headers of ${preset}`, async () => {
      const records = [letter('a', { preset, topic: 'other', partition: 1, headers: { trace: 't' } }), letter('b', { preset, partition: 3, headers: { 'retry_topic-attempts': '3', 'kafka_dlt-exception-cause-fqcn': 'X' } })]
      await cluster.produce({ topic: 'dead', records: records.map((record) => ({ ...record, timestamp: T0 + 99 })) })
      expect(await run()).toMatchObject({ sent: 2, byTarget: { in: 1, other: 1 }, table: [{ outcome: 'send', error: 'TypeError', records: 1 }, { error: 'TypeError' }] })
      expect((await readAll(cluster, 'other')).map(bytesOf)).toMatchObject([{ partition: 1, headers: [['trace', Buffer.from('t')], ['millrace.redriven', Buffer.from('1')]], timestamp: T0 }])
      expect((await readAll(cluster, 'in')).map(bytesOf)).toMatchObject([{ partition: 3, headers: [['millrace.redriven', Buffer.from('1')]] }])
    })
  }

  it('what the filter leaves out stays for another run; nothing is sent twice', async () => {
    const errors = ['Timeout', 'TypeError', 'Timeout', 'Refused']
    await cluster.produce({ topic: 'dead', records: Array.from({ length: 40 }, (_, i) => letter(String(i), { error: errors[i % 4] as string, into: i % 3 })) })
    const of = (...kinds: string[]): string[] => Array.from({ length: 40 }, (_, i) => String(i)).filter((_, i) => kinds.includes(errors[i % 4] as string)).sort()
    expect(await run({ filter: { error: 'Timeout' } })).toMatchObject({ sent: 20, left: 20, skipped: 0 })
    expect(await values(cluster, 'in')).toEqual(of('Timeout'))
    expect(await run({ filter: { error: /^ref/i } })).toMatchObject({ sent: 10, left: 10, skipped: 20 })
    expect(await run({ filter: { error: 'Timeout' } })).toMatchObject({ sent: 0, left: 10, skipped: 30 })
    expect(await run()).toMatchObject({ sent: 10, left: 0, skipped: 30 })
    expect(await run()).toMatchObject({ sent: 0, skipped: 40, complete: true })
    expect(await values(cluster, 'in')).toEqual(of('Timeout', 'TypeError', 'Refused'))
  })

  it('a dry run writes and commits nothing, and tells what a run would do', async () => {
    await cluster.produce({ topic: 'dead', records: [...Array.from({ length: 30 }, (_, i) => letter(String(i), { into: i % 3, error: i % 3 === 0 ? 'A' : 'B' })), { value: 'no letter' }, letter('often', { headers: { 'millrace.redriven': '3' } })] })
    const state = async () => [broker.offsets('dead.redrive'), broker.groups(), broker.openTransactions(), [...(await cluster.topics(['dead.redrive-redriven-changelog'])).keys()], await values(cluster, 'in')]
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
    await cluster.produce({ topic: 'dead', records: [letter('a'), letter('b', { topic: 'gone' }), letter('c', { topic: 'away' }), letter('d', { topic: 'gone' })] })
    await expect(run()).rejects.toMatchObject({ code: 'MISSING_TOPIC', message: expect.stringMatching(/nothing was sent.*'gone' \(2 records\), 'away' \(1 records\)/) as string })
    expect(await values(cluster, 'in')).toEqual([])
    expect(await run({ to: 'other' })).toMatchObject({ sent: 4, byTarget: { other: 4 } })
  })

  it('parks what comes back again and again, and stops at the end as it was though records fail anew meanwhile', async () => {
    await cluster.createTopics([{ topic: 'dead.parked', config: ANY_TIME }])
    await cluster.produce({ topic: 'in', records: Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value: String(i) })) })
    const project = (all: Parameters<Parameters<typeof runUntil>[2]>[0]) => all.pipe(attempt(() => Promise.reject(new Error('still'))), deadLetter({ topic: 'dead' }), toTopic({ topic: 'other' }))
    const failing = runUntil(cluster, { group: 'g', topics: ['in'], records: 60 }, project)
    let parkings = 0
    await until(async () => (parkings += (await run({ maxRedrives: 2 })).parked) === 20, { what: 'all to be parked' })
    await failing
    const parked = await readAll(cluster, 'dead.parked')
    expect(parked.map(({ value }) => String(value)).sort()).toEqual(Array.from({ length: 20 }, (_, i) => String(i)).sort())
    for (const { headers } of parked) expect([String(headers['millrace.redriven']), String(headers['millrace.message'])]).toEqual(['2', 'still'])
    expect(await values(cluster, 'in')).toHaveLength(60)
  })
})
