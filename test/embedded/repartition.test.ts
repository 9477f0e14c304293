import { map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  count,
  describe as describePipeline,
  embedded,
  json,
  mapValue,
  repartition,
  silentLogger,
  sum,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Cluster,
  type Commit,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker, type Fault } from '../../src/testing/index.js'
import { contents, runUntil, sumOf } from '../support/pipelines.js'

const COUNT = 400
const COLOURS = ['red', 'green', 'blue', 'black', 'white']
/** By user; the colour is spread over all partitions. */
const input = Array.from({ length: COUNT }, (_, i) => ({
  key: `user${i % 11}`,
  value: JSON.stringify({ colour: COLOURS[i % 5], n: i }),
  timestamp: 1_000 + i * 100,
}))

interface Click {
  readonly colour: string
  readonly n: number
}

describe('repartition', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 3 },
      { topic: 'out', partitions: 3 },
    ])
  })

  afterEach(() => cluster.close())

  const run = (
    records: number,
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
  ): Promise<Commit[]> =>
    runUntil(
      cluster,
      { group: 'g', topics: ['in'], records, options: { maxRecords: 40, provision: true, retryDelay: 5, ...options } },
      project,
    )

  const clicks = (records: RecordStream) => records.pipe(map((record) => record.with({ value: JSON.parse(String(record.value)) as Click })))
  const byColour = (records: RecordStream) =>
    clicks(records).pipe(repartition({ key: (click) => click.value.colour, value: json(), name: 'by-colour' }))

  const perColour = (records: RecordStream): Observable<unknown> =>
    byColour(records).pipe(
      window(tumbling('10s'), { aggregate: sum((click) => click.value.n), grace: '1h' }),
      toTopic({ topic: 'out', value: json() }),
    )

  const results = async (): Promise<string[]> => (await contents(cluster, 'out')).map(({ key, value }) => `${key} ${value}`).sort()
  const expected = (): string[] => {
    const sums = new Map<string, number>()
    for (const { value, timestamp } of input) {
      const { colour, n } = JSON.parse(value) as Click
      const start = Math.floor(timestamp / 10_000) * 10_000
      const at = `${colour} ${start}`
      sums.set(at, (sums.get(at) ?? 0) + n)
    }
    return [...sums]
      .map(([at, result]) => {
        const [colour, start] = at.split(' ') as [string, string]
        return `${colour} ${JSON.stringify({ start: Number(start), end: Number(start) + 10_000, result })}`
      })
      .sort()
  }

  /** Records so much later that every window closes, one a colour so that each task gets the word. */
  const closing = COLOURS.map((colour) => ({ key: 'clock', value: JSON.stringify({ colour, n: 0 }), timestamp: 9_000_000 }))
  const runToTheEnd = async (project: (records: RecordStream) => Observable<unknown>, options: TransactionOptions = {}): Promise<void> => {
    await cluster.produce({ topic: 'in', records: input })
    await run(2 * COUNT, project, options)
    await cluster.produce({ topic: 'in', records: closing })
    await run(2 * closing.length, project, options)
  }

  const faults: Record<string, Fault> = {
    'an aborted produce': { at: 'produce', of: 'g-by-colour-repartition', reaction: 'abort', after: 1, times: 2 },
    'a fenced producer': { at: 'produce', of: 'g-by-colour-repartition', reaction: 'reinit', after: 1 },
    'refused offsets': { at: 'offsets', reaction: 'abort', after: 3, times: 3 },
    'a lost generation': { at: 'offsets', reaction: 'lost', after: 4 },
    'a commit without an answer that took effect': { at: 'end', reaction: 'indeterminate', tookEffect: true, after: 3, times: 2 },
    'a commit without an answer that did not': { at: 'end', reaction: 'indeterminate', tookEffect: false, after: 3 },
  }
  for (const [name, fault] of Object.entries(faults)) {
    it(`brings all records of a key to one window, each once, through ${name}`, async () => {
      const injected = broker.faults.inject(fault)
      await runToTheEnd(perColour)
      expect(injected.hits).toBe(fault.times ?? 1)
      expect(await results()).toEqual(expected())
    })
  }

  it('the same check notices outputs and offsets that do not commit together', async () => {
    broker.faults.inject(faults['refused offsets'] as Fault)
    await runToTheEnd(perColour, { guarantee: 'at-least-once' })
    expect(await results()).not.toEqual(expected())
  })

  it('the same check notices records that were not sent to where their key belongs', async () => {
    await cluster.produce({ topic: 'in', records: input })
    const apart = (records: RecordStream): Observable<unknown> =>
      clicks(records).pipe(
        window(tumbling('10s'), {
          aggregate: sum((click) => click.value.n),
          key: (click) => click.value.colour,
          partitioned: true,
          emit: 'updates',
        }),
        toTopic({ topic: 'out', value: json() }),
      )
    await run(COUNT, apart)
    expect(await results()).not.toEqual(expected())
  })

  it('keeps value, headers and timestamp; the key is the new one, the origin the internal topic', async () => {
    const seen: unknown[] = []
    await cluster.produce({
      topic: 'in',
      records: [
        { key: 'a', value: 'x', headers: { h: ['1', null] }, timestamp: 77 },
        { key: 'a', value: null, timestamp: 78 },
      ],
    })
    await run(4, (records) =>
      records.pipe(
        repartition({ key: (record) => Buffer.from([0, 255, record.origin.offset]), topic: 'own' }),
        map((record) => {
          seen.push({
            key: record.key,
            value: record.value,
            headers: { ...record.headers },
            timestamp: record.timestamp,
            topic: record.origin.topic,
          })
          return record
        }),
        toTopic({ topic: 'out' }),
      ),
    )
    expect(seen.sort((a, b) => (a as { timestamp: number }).timestamp - (b as { timestamp: number }).timestamp)).toEqual([
      { key: Buffer.from([0, 255, 0]), value: Buffer.from('x'), headers: { h: [Buffer.from('1'), null] }, timestamp: 77, topic: 'own' },
      { key: Buffer.from([0, 255, 1]), value: null, headers: {}, timestamp: 78, topic: 'own' },
    ])
  })

  it('counts a record where it is written and where it is read; the numbers add up', async () => {
    await cluster.produce({ topic: 'in', records: input.slice(0, 100) })
    const commits = await run(200, (records) => byColour(records).pipe(aggregate(count()), toTopic({ topic: 'out', value: json() })))
    expect(sumOf(commits, 'records')).toBe(200)
    expect(sumOf(commits, 'processed')).toBe(200)
    for (const { records, processed, filtered, duplicate, late, failed } of commits)
      expect(records).toBe(processed + filtered + duplicate + late + failed)
  })

  it('makes its topic with the partitions of the source, and is described', async () => {
    const source = cluster.source({ group: 'g', topics: ['in'] })
    expect(String(describePipeline(source.pipe(withTransaction(perColour))))).toContain(
      "writes and reads g-by-colour-repartition  (repartition 'by-colour')",
    )
    await cluster.produce({ topic: 'in', records: input.slice(0, 10) })
    await run(20, perColour, { provision: { partitions: 7 } })
    expect((await cluster.topics(['g-by-colour-repartition'])).get('g-by-colour-repartition')?.partitions).toBe(3)
  })

  it('refuses a topic of another partition count, a missing one, and one that is an input', async () => {
    await expect(run(1, perColour, { provision: false })).rejects.toMatchObject({
      code: 'MISSING_TOPIC',
      message: expect.stringMatching(/^internal .*'g-by-colour-repartition'.* with 3 partitions/) as string,
    })
    await cluster.createTopics([{ topic: 'g-by-colour-repartition', partitions: 2 }])
    await expect(run(1, perColour)).rejects.toMatchObject({ code: 'PARTITION_MISMATCH' })
    await expect(run(1, (records) => records.pipe(repartition({ key: () => 'k', topic: 'in' })))).rejects.toMatchObject({
      code: 'PLAN_FAILED',
      message: expect.stringContaining("'in'") as string,
    })
  })

  it('refuses wrong options by name', () => {
    const wrong =
      (options: object): (() => unknown) =>
      () =>
        repartition(options as never)
    expect(wrong({})).toThrow(/key: expected a function/)
    expect(wrong({ key: () => 'a', topic: 't', name: 'n' })).toThrow(/topic: is the whole name/)
    expect(wrong({ key: () => 'a', keys: 1 })).toThrow(/unknown option 'keys'/)
    expect(wrong({ key: () => 'a', value: { encode: () => 'x' } })).toThrow(/value: expected a serde/)
  })

  it('a record whose new key is missing, or whose bytes cannot be read back, follows onError alone', async () => {
    await cluster.createTopics([{ topic: 'dead', partitions: 1 }])
    await cluster.produce({ topic: 'in', records: input.slice(0, 20) })
    const unreadable = {
      ...json<number>(),
      decode: (buffer: Buffer) => {
        if (String(buffer) === '7') throw new Error('seven')
        return Number(String(buffer))
      },
    }
    const commits = await run(
      39,
      (records) =>
        clicks(records).pipe(
          mapValue((click) => click.n),
          repartition({ key: (n) => (n.value === 3 ? (null as never) : `k${n.value % 4}`), value: unreadable }),
          toTopic({ topic: 'out', value: json() }),
        ),
      { onError: { deadLetter: 'dead' }, retries: 0 },
    )
    expect(sumOf(commits, 'failed')).toBe(2)
    expect((await contents(cluster, 'dead')).map(({ value }) => value).sort()).toEqual([input[3]?.value, '7'].sort())
    expect((await contents(cluster, 'out')).map(({ value }) => Number(value)).sort((a, b) => a - b)).toEqual(
      [...Array(20).keys()].filter((n) => n !== 3 && n !== 7),
    )
  })

  it('takes bytes without a serde', async () => {
    await cluster.produce({ topic: 'in', records: [{ key: 'a', value: Buffer.from([0, 200, 10]) }] })
    await run(2, (records) => records.pipe(repartition({ key: () => 'b' }), toTopic({ topic: 'out' })))
    const [only] = await contents(cluster, 'out')
    expect(only).toMatchObject({ key: 'b', value: String(Buffer.from([0, 200, 10])) })
  })
})
