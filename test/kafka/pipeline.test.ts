import { CompressionCodecs, CompressionTypes } from 'kafkajs'
// @ts-expect-error the package has no types
import snappy from 'kafkajs-snappy'
import { Subject, lastValueFrom, map, mergeMap, take, takeWhile, tap, toArray, type Observable } from 'rxjs'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import {
  kafka,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type CompressionCodec,
  type RecordStream,
  type SourceOptions,
  type TransactionOptions,
} from '../../src/index.js'
import { startKafka, type KafkaServer } from '../support/kafka/broker.js'
import { observe, uniqueName, type Observer } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { runUntil, sumOf, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

const copy = (topic: string) => (records: RecordStream) => records.pipe(toTopic({ topic }))

/** By default a broker refuses times more than an hour ahead, and deletes what is older than a week. */
const anyTime = { 'retention.ms': '-1', 'message.timestamp.after.max.ms': '9223372036854775807' }

describe('a pipeline on Kafka', () => {
  const { observer, cluster } = kafkaSuite()

  const failure = async (
    source: Partial<SourceOptions> & { topics: string[] },
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
  ): Promise<unknown> =>
    lastValueFrom(cluster.source({ group: uniqueName('group'), ...source }).pipe(withTransaction(project, { every: 20, ...options })), {
      defaultValue: undefined,
    }).catch((error: unknown) => error)

  it('copies key, value, headers and timestamp byte for byte, as Java reads them, nulls and repeated headers included', async () => {
    const [input, output] = [
      await observer.createTopic({ partitions: 2, config: anyTime }),
      await observer.createTopic({ partitions: 2, config: anyTime }),
    ]
    const odd = Buffer.from([0, 255, 10, 13, 9, 0xc3, 0x28])
    const records = [
      { key: odd, value: odd, headers: { a: odd, empty: '' }, timestamp: 1_000 },
      { key: null, value: Buffer.from('no key'), timestamp: 2_000 },
      { key: Buffer.from('tombstone'), value: null, timestamp: 3_000 },
      { key: Buffer.from(''), value: Buffer.from(''), timestamp: 32_503_680_000_000 },
      { key: Buffer.from('big'), value: Buffer.alloc(900_000, 'x'), timestamp: 4_000 },
    ]
    await cluster.produce({
      topic: input,
      records: [...records, { key: 'twice', value: 'v', headers: { h: ['1', null, '2'], __proto__: 'x' }, timestamp: 5_000 }],
    })
    await runUntil(cluster, { group: uniqueName('g'), topics: [input], records: 6 }, copy(output))
    const strip = (seen: Awaited<ReturnType<Observer['readAllJava']>>) => seen.map(({ offset: _, ...rest }) => rest)
    expect(strip(await observer.readAllJava(output))).toEqual(strip(await observer.readAllJava(input)))
  })

  it('compresses and uncompresses by the codecs that the cluster was given', async () => {
    const [input, output] = [await observer.createTopic(), await observer.createTopic()]
    await cluster.produce({ topic: input, records: [{ key: 'k', value: 'v' }] })
    const registry = CompressionCodecs as Partial<Record<number, unknown>>
    const kept = registry[CompressionTypes.Snappy]
    registry[CompressionTypes.Snappy] = undefined
    const own = kafka({ brokers: inject('kafkaBrokers'), logger: silentLogger, codecs: { snappy: snappy as () => CompressionCodec } })
    try {
      const without = await failure({ topics: [input] }, copy(output), { compression: 'snappy' })
      expect(without).toMatchObject({ code: 'UNSUPPORTED_FORMAT', message: expect.stringContaining('kafka({ codecs: { snappy') as string })
      await runUntil(own, { group: uniqueName('g'), topics: [input], records: 1, options: { compression: 'snappy' } }, copy(output))
      const read: string[] = []
      for await (const { value } of own.read({ topic: output })) read.push(String(value))
      expect(read).toEqual(['v'])
    } finally {
      registry[CompressionTypes.Snappy] = kept
      await own.close()
    }
  })

  it('a codec that cannot compress ends the pipeline, and no record is charged with it', async () => {
    const [input, output] = [await observer.createTopic(), await observer.createTopic()]
    await cluster.produce({ topic: input, records: Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value: String(i) })) })
    const group = uniqueName('group')
    const kept = CompressionCodecs[CompressionTypes.ZSTD] as unknown
    CompressionCodecs[CompressionTypes.ZSTD] = () => ({
      compress: () => Promise.reject(new Error('not built for this')),
      decompress: (bytes: Buffer) => bytes,
    })
    try {
      for (const onError of ['skip', 'stop'] as const)
        expect(await failure({ topics: [input], group }, copy(output), { compression: 'zstd', onError })).toMatchObject({
          code: 'UNSUPPORTED_FORMAT',
          message: expect.stringMatching(/the codec registered for zstd cannot compress .*not built for this/) as string,
        })
    } finally {
      CompressionCodecs[CompressionTypes.ZSTD] = kept as never
    }
    const commits = await runUntil(cluster, { group, topics: [input], records: 20 }, copy(output))
    expect([sumOf(commits, 'failed'), sumOf(commits, 'processed')]).toEqual([0, 20])
  })

  it('a topic with event times of long ago and of the far future keeps them', async () => {
    const [input, output] = [await observer.createTopic({ config: anyTime }), await observer.createTopic({ config: anyTime })]
    await cluster.produce({
      topic: input,
      records: [
        { value: 'old', timestamp: Date.UTC(1971, 0) },
        { value: 'new', timestamp: Date.UTC(3000, 0) },
      ],
    })
    await runUntil(cluster, { group: uniqueName('g'), topics: [input], records: 2 }, copy(output))
    // The commit is acknowledged before its markers are written.
    await until(async () => (await observer.readAll(output)).length > 0)
    expect((await observer.readAll(output)).map(({ timestamp }) => timestamp)).toEqual([Date.UTC(1971, 0), Date.UTC(3000, 0)])
  })

  it('stops while it waits to join, and holds nobody up by it', async () => {
    const input = await observer.createTopic({ partitions: 2 })
    await cluster.produce({ topic: input, records: [0, 1].map((partition) => ({ value: 'v', partition })) })
    const group = uniqueName('g')
    const admin = await observer.admin()
    const gate = new Subject<void>()
    const holding = new AbortController()
    let inside = false
    const run = (signal: AbortSignal, project: (records: RecordStream) => Observable<unknown>): Promise<unknown> =>
      lastValueFrom(
        cluster.source({ group, topics: [input], signal }).pipe(
          withTransaction(project, { every: 20 }),
          map((commit) => commit.records),
        ),
        { defaultValue: 0 },
      )
    const holder = run(holding.signal, (records) =>
      records.pipe(
        tap(() => (inside = true)),
        mergeMap(() => gate.pipe(take(1))),
      ),
    )
    await until(() => inside)
    // The group waits for the slice that is held: whoever joins now gets no answer before.
    const joining = new AbortController()
    const joiner = run(joining.signal, (records) => records)
    await until(async () => (await admin.describeGroups([group])).groups[0]?.state === 'PreparingRebalance', {
      what: 'the rebalance to begin',
    })
    joining.abort()
    await joiner
    await until(async () => (await admin.describeGroups([group])).groups[0]?.members.length === 1, {
      what: 'the member that gave up to be gone',
    })
    gate.next()
    holding.abort()
    expect(await holder).toBe(2)
  })

  it('starts where startFrom says, and at the committed offset ever after', async () => {
    const input = await observer.createTopic()
    await cluster.produce({ topic: input, records: [1, 2, 3, 4].map((n) => ({ value: String(n), timestamp: n * 1_000 })) })
    const read = async (group: string, startFrom: SourceOptions['startFrom'], count: number): Promise<string[]> => {
      const seen: string[] = []
      await lastValueFrom(
        cluster.source({ group, topics: [input], ...(startFrom === undefined ? {} : { startFrom }) }).pipe(
          withTransaction((records) => records.pipe(map((record) => seen.push(String(record.value)))), { every: 20 }),
          takeWhile(() => seen.length < count),
          toArray(),
        ),
      )
      return seen
    }
    expect(await read(uniqueName('g'), undefined, 4)).toEqual(['1', '2', '3', '4'])
    expect(await read(uniqueName('g'), { timestamp: 3_000 }, 2)).toEqual(['3', '4'])
    expect(await read(uniqueName('g'), { timestamp: new Date(2_500) }, 2)).toEqual(['3', '4'])
    const latest = uniqueName('g')
    // 'latest' is stored before the first record, or a restart would choose a later one.
    expect(await read(latest, 'latest', 0)).toEqual([])
    await cluster.produce({ topic: input, records: [{ value: '5' }] })
    expect(await read(latest, 'latest', 1)).toEqual(['5'])
    expect(await failure({ topics: [input], startFrom: 'committed' }, (records) => records)).toMatchObject({ code: 'NO_COMMITTED_OFFSET' })
  })

  it('commits past control records, so that the lag of an idle group is zero', async () => {
    const [input, middle, output] = [await observer.createTopic(), await observer.createTopic(), await observer.createTopic()]
    await cluster.produce({ topic: input, records: [{ value: 'a' }, { value: 'b' }] })
    await runUntil(cluster, { group: uniqueName('g'), topics: [input], records: 2 }, copy(middle))
    const group = uniqueName('g')
    const stop = new AbortController()
    const done = lastValueFrom(
      cluster.source({ group, topics: [middle], signal: stop.signal }).pipe(withTransaction(copy(output), { every: 20 })),
    )
    // Two records and the commit marker behind them.
    await until(async () => (await observer.committed(group, middle)).get(0) === 3, { what: 'offset 3 to be committed' })
    stop.abort()
    await done
  })

  it('a record larger than the output takes stops at it, before anything of it is written, and the others commit', async () => {
    const input = await observer.createTopic({ config: { 'max.message.bytes': '3000000' } })
    const output = await observer.createTopic({ config: { 'max.message.bytes': '20000' } })
    await cluster.produce({ topic: input, records: [{ value: 'small' }, { value: 'x'.repeat(50_000) }, { value: 'behind' }] })
    const group = uniqueName('g')
    expect(await failure({ group, topics: [input] }, copy(output), { retries: 0 })).toMatchObject({
      code: 'RECORD_FAILED',
      origin: { topic: input, partition: 0, offset: 1 },
      cause: { code: 'RECORD_TOO_LARGE' },
    })
    expect(await values(cluster, output)).toEqual(['small'])
    const commits = await runUntil(cluster, { group, topics: [input], records: 2, options: { onError: 'skip', retries: 0 } }, copy(output))
    expect(sumOf(commits, 'failed')).toBe(1)
    expect(await values(cluster, output)).toEqual(['behind', 'small'])
  })

  it('output that the broker alone finds too large is traced to its record too', async () => {
    const [input, output] = [await observer.createTopic(), await observer.createTopic({ config: { 'max.message.bytes': '2000' } })]
    const noise = Array.from({ length: 20_000 }, (_, i) => String.fromCharCode(33 + ((i * 7919) % 90))).join('')
    await cluster.produce({ topic: input, records: [{ value: 'a' }, { value: noise }, { value: 'b' }] })
    // Compressed sizes are the broker's to judge.
    const commits = await runUntil(
      cluster,
      { group: uniqueName('g'), topics: [input], records: 3, options: { onError: 'skip', retries: 0, compression: 'gzip' } },
      (records) =>
        records.pipe(
          map((record) =>
            record.with({
              value:
                String(record.value).length > 10
                  ? Buffer.from(Array.from({ length: 20_000 }, () => Math.floor(Math.random() * 256)))
                  : record.value,
            }),
          ),
          toTopic({ topic: output }),
        ),
    )
    expect(sumOf(commits, 'failed')).toBe(1)
    expect(await values(cluster, output)).toEqual(['a', 'b'])
  })

  it('a timestamp that the output topic does not take follows onError like any other failure of a record', async () => {
    const [input, output] = [await observer.createTopic({ config: anyTime }), await observer.createTopic()]
    await cluster.produce({
      topic: input,
      records: [{ value: 'now' }, { value: 'far', timestamp: Date.UTC(3000, 0) }, { value: 'now too' }],
    })
    await runUntil(cluster, { group: uniqueName('g'), topics: [input], records: 3, options: { onError: 'skip', retries: 0 } }, copy(output))
    expect(await values(cluster, output)).toEqual(['now', 'now too'])
  })

  it('missing topics are an error and are not created, unless asked for', async () => {
    const input = await observer.createTopic({ partitions: 3 })
    const missing = uniqueName('missing')
    expect(await failure({ topics: [input] }, copy(missing))).toMatchObject({ code: 'MISSING_TOPIC' })
    expect(await failure({ topics: [missing] }, (records) => records)).toMatchObject({ code: 'MISSING_TOPIC' })
    expect(await cluster.topics([missing])).toEqual(new Map())
    await cluster.produce({ topic: input, records: [{ value: 'a' }] })
    await runUntil(
      cluster,
      { group: uniqueName('g'), topics: [input], records: 1, options: { provision: { config: { 'retention.ms': '-1' } } } },
      copy(missing),
    )
    expect((await cluster.topics([missing])).get(missing)?.partitions).toBe(3)
    expect(await values(cluster, missing)).toEqual(['a'])
  })

  it('a source without withTransaction hands records out and commits nothing', async () => {
    const input = await observer.createTopic({ partitions: 2 })
    await cluster.produce({ topic: input, records: [0, 1].map((partition) => ({ value: `p${partition}`, partition })) })
    const group = uniqueName('g')
    const seen: string[] = []
    const streams: number[] = []
    const subscription = cluster.source({ group, topics: [input] }).subscribe((stream) => {
      streams.push(stream.partition)
      stream.subscribe((record) => seen.push(String(record.value)))
    })
    await until(() => seen.length === 2, { what: 'both records' })
    subscription.unsubscribe()
    expect(seen.sort()).toEqual(['p0', 'p1'])
    expect(streams.sort()).toEqual([0, 1])
    expect(await observer.committed(group, input)).toEqual(new Map())
  })
})

describe('a pipeline on a Kafka that asks who it is', () => {
  let server: KafkaServer
  let observer: Observer

  beforeAll(async () => {
    server = await startKafka({
      tls: true,
      sasl: { mechanism: 'SCRAM-SHA-256', username: 'admin', password: 'admin-secret' },
      authorizer: { unprivileged: { username: 'guest', password: 'guest-secret' } },
    })
    observer = observe(server.connection)
  })
  afterAll(async () => {
    await observer?.close()
    await server?.stop()
  })

  it('works over TLS with SCRAM; a user without rights gets UNAUTHORIZED; a wrong password too', async () => {
    const [input, output] = [await observer.createTopic(), await observer.createTopic()]
    const { brokers, ssl, sasl } = server.connection
    const as = (credentials: typeof sasl): Cluster =>
      kafka({ brokers, logger: silentLogger, ...(ssl && { ssl: { ca: [...ssl.ca] } }), ...(credentials && { sasl: credentials }) })

    const admin = as(sasl)
    await admin.produce({ topic: input, records: [{ value: 'secret' }] })
    await runUntil(admin, { group: 'g', topics: [input], records: 1 }, copy(output))
    expect(await values(admin, output)).toEqual(['secret'])
    await admin.close()

    const guest = as(server.unprivileged?.sasl)
    await expect(runUntil(guest, { group: 'g', topics: [input], records: 1 }, copy(output))).rejects.toMatchObject({
      code: expect.stringMatching(/UNAUTHORIZED|MISSING_TOPIC/),
    })
    await guest.close()

    const stranger = as({ mechanism: 'scram-sha-256', username: 'admin', password: 'wrong' })
    await expect(runUntil(stranger, { group: 'g', topics: [input], records: 1 }, copy(output))).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    })
    await stranger.close()
  })
})

describe('a pipeline on Kafka 3.9, with the first transaction protocol', () => {
  let server: KafkaServer

  beforeAll(async () => {
    server = await startKafka({ release: '3.9' })
  })
  afterAll(() => server?.stop())

  it('copies exactly once through aborts', async () => {
    const cluster = kafka({ brokers: server.brokers, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 2 },
      { topic: 'out', partitions: 2 },
    ])
    await cluster.produce({ topic: 'in', records: Array.from({ length: 500 }, (_, i) => ({ key: `k${i}`, value: String(i) })) })
    let faults = 3
    await runUntil(
      cluster,
      { group: 'g', topics: ['in'], records: 500, options: { maxRecords: 40, streamBytes: 1, retries: 4, retryDelay: 1 } },
      (records) =>
        records.pipe(
          map((record) => {
            if (Number(String(record.value)) % 100 === 50 && faults-- > 0) throw new Error('for a moment')
            return record
          }),
          toTopic({ topic: 'out' }),
        ),
    )
    expect((await values(cluster, 'out')).map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 500 }, (_, i) => i))
    await cluster.close()
  })
})
