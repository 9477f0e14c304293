import { map, tap, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  FailedRecord,
  attempt,
  deadLetter,
  decode,
  describe as describePipeline,
  dropFailed,
  embedded,
  isFailed,
  json,
  readFailure,
  record,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type DeadLetterOptions,
  type FailureHeaders,
  type HeaderValue,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import type { LogRecord } from '../../src/record/record.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { ANY_TIME, Order, expectLetters, ordersWithPoison, readAll } from '../support/poison.js'
import { runUntil, sumOf, values } from '../support/pipelines.js'

const PRESETS: readonly FailureHeaders[] = ['millrace', 'spring', 'streams']

class Refused extends Error {
  readonly code = 'E_REFUSED'
}

describe('deadLetter', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 4, config: ANY_TIME },
      { topic: 'out', partitions: 4, config: ANY_TIME },
      { topic: 'dead', partitions: 3, config: ANY_TIME },
    ])
  })

  afterEach(() => cluster.close())

  const orders =
    (options: Partial<DeadLetterOptions> = {}) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(decode(Order), deadLetter({ topic: 'dead', ...options }), toTopic({ topic: 'out', value: json() }))
  /** All records fail, so. */
  const failing =
    (error: unknown, options: Partial<DeadLetterOptions> = {}, step = 'check') =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(
        attempt(() => Promise.reject(error as Error), { step }),
        deadLetter({ topic: 'dead', ...options }),
        toTopic({ topic: 'out' }),
      )
  const run = (project: (records: RecordStream) => Observable<unknown>, records = 1, topic = 'in', options: TransactionOptions = {}) =>
    runUntil(cluster, { group: `g-${topic}`, topics: [topic], records, options: { retryDelay: 1, ...options } }, project)
  const text = (value: HeaderValue | undefined): string | undefined => (value instanceof Buffer ? String(value) : undefined)
  const dead = (): Promise<RawRecord[]> => readAll(cluster, 'dead')
  const committed = async (): Promise<(number | undefined)[]> => {
    const client = broker.client()
    return [
      ...(await client.committedOffsets(
        'g-in',
        [0, 1, 2, 3].map((partition) => ({ topic: 'in', partition })),
      )),
    ]
  }

  for (const preset of PRESETS) {
    it(`poison of every kind stands there once, byte for byte, all else in the output (${preset})`, async () => {
      const { records, poison, good } = ordersWithPoison({ count: 1_200, every: 40, partitions: 4 })
      await cluster.produce({ topic: 'in', records })
      const commits = await run(orders({ headers: preset }), records.length)
      const letters = await dead()
      expectLetters(letters, poison, preset, 3)
      expect(await values(cluster, 'out')).toEqual(good)
      expect([sumOf(commits, 'failed'), sumOf(commits, 'processed')]).toEqual([poison.length, good.length])
      for (const letter of letters)
        expect(readFailure(letter.headers)).toMatchObject({ step: 'decode', code: 'DECODE_FAILED', error: 'MillraceError' })
    })
  }

  it('the check above would notice a value written anew, a header lost and a record written twice', async () => {
    const { records, poison } = ordersWithPoison({ count: 300, every: 10, partitions: 4 })
    await cluster.produce({ topic: 'in', records })
    await run(orders(), records.length)
    const letters = await dead()
    const broken =
      (change: (letter: RawRecord) => RawRecord): (() => void) =>
      () =>
        expectLetters(letters.map(change), poison, 'millrace', 3)
    expect(broken((letter) => letter)).not.toThrow()
    expect(
      broken((letter) => letter.with({ value: letter.value === null ? null : Buffer.from(String(letter.value)) }) as RawRecord),
    ).toThrow()
    expect(
      broken(
        (letter) =>
          letter.with({ headers: Object.fromEntries(Object.entries(letter.headers).filter(([name]) => name !== 'empty')) }) as RawRecord,
      ),
    ).toThrow()
    expect(broken((letter) => letter.with({ value: letter.value ?? Buffer.alloc(0) }) as RawRecord)).toThrow()
    expect(() => expectLetters([...letters, letters[0] as RawRecord], poison, 'millrace', 3)).toThrow()
  })

  it("tells where the record came from, which step failed and why, after how many tries, under millrace's own names", async () => {
    await cluster.produce({
      topic: 'in',
      records: [
        { value: 'first', partition: 2 },
        { value: 'x', partition: 2, timestamp: 1_234, headers: { trace: 't' } },
      ],
    })
    const error = new Refused('card declined', { cause: new TypeError('no card') })
    await run(
      (records) =>
        records.pipe(
          attempt((r) => (String(r.value) === 'x' ? Promise.reject(error) : undefined), { step: 'charge', retry: { times: 2, delay: 1 } }),
          deadLetter({ topic: 'dead' }),
          toTopic({ topic: 'out' }),
        ),
      2,
    )
    const [letter] = await dead()
    expect(Object.keys(letter?.headers ?? {})).toEqual([
      'trace',
      'millrace.origin',
      'millrace.timestamp',
      'millrace.step',
      'millrace.error',
      'millrace.code',
      'millrace.message',
      'millrace.stack',
      'millrace.attempts',
    ])
    expect(text(letter?.headers['millrace.origin'])).toBe('in/2/1')
    const failure = readFailure(letter?.headers ?? {})
    expect(failure).toMatchObject({
      origin: { topic: 'in', partition: 2, offset: 1 },
      timestamp: 1_234,
      step: 'charge',
      error: 'Refused',
      code: 'E_REFUSED',
      message: 'card declined',
      attempts: 3,
    })
    expect(failure?.stack).toMatch(/card declined[^]*dead-letter\.test\.ts[^]*Caused by: TypeError: no card/)
  })

  it('as Spring Kafka writes it: numbers in big-endian binary', async () => {
    await cluster.produce({ topic: 'in', records: [{ value: 'x', partition: 1, timestamp: Date.UTC(3000, 0) }] })
    await run(failing(new Refused('no'), { headers: 'spring' }))
    const [letter] = await dead()
    const headers = letter?.headers ?? {}
    const time = Date.UTC(3000, 0).toString(16).padStart(16, '0')
    const numbers = {
      'kafka_dlt-original-partition': '00000001',
      'kafka_dlt-original-offset': '0000000000000000',
      'kafka_dlt-original-timestamp': time,
      kafka_deliveryAttempt: '00000001',
    }
    for (const [name, bytes] of Object.entries(numbers)) expect([name, (headers[name] as Buffer).toString('hex')]).toEqual([name, bytes])
    expect(text(headers['kafka_dlt-original-topic'])).toBe('in')
    expect(text(headers['kafka_dlt-original-timestamp-type'])).toBe('CreateTime')
    expect(text(headers['kafka_dlt-exception-fqcn'])).toBe('Refused')
    expect(text(headers['kafka_dlt-exception-message'])).toBe('no')
    expect(text(headers['kafka_dlt-exception-stacktrace'])).toMatch(/^Error: no\n/)
    expect(readFailure(headers)).toMatchObject({
      origin: { topic: 'in', partition: 1, offset: 0 },
      timestamp: Date.UTC(3000, 0),
      step: 'check',
      error: 'Refused',
      code: 'E_REFUSED',
    })
  })

  it('as Kafka Streams writes it: all text', async () => {
    await cluster.produce({ topic: 'in', records: [{ value: 'x', partition: 3 }] })
    await run(failing(new Refused('no'), { headers: 'streams' }))
    const [letter] = await dead()
    const headers = letter?.headers ?? {}
    const names = ['topic', 'partition', 'offset', 'exception', 'message'].map((name) => text(headers[`__streams.errors.${name}`]))
    expect(names).toEqual(['in', '3', '0', 'Refused', 'no'])
    expect(text(headers['__streams.errors.stacktrace'])).toMatch(/^Error: no\n/)
    expect(readFailure(headers)).toMatchObject({ origin: { topic: 'in', partition: 3, offset: 0 }, step: 'check' })
  })

  it("with headers of the user's own making", async () => {
    await cluster.produce({ topic: 'in', records: [{ value: 'x', headers: { why: 'stale', keep: 'k' } }] })
    await run(failing(new Error('no'), { headers: (failed) => ({ why: String(failed.error), step: failed.step }) }))
    const [letter] = await dead()
    expect(Object.entries(letter?.headers ?? {}).map(([name, value]) => `${name}=${text(value)}`)).toEqual([
      'keep=k',
      'why=Error: no',
      'step=check',
    ])
  })

  it('anything can be thrown', async () => {
    const thrown: unknown[] = [
      'a text',
      42,
      null,
      undefined,
      { code: 'X' },
      Object.create(null),
      Symbol('s'),
      new Error('lone \ud800 surrogate'),
    ]
    await cluster.produce({ topic: 'in', records: thrown.map((_, i) => ({ value: String(i), partition: 0 })) })
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        attempt((r) => {
          throw thrown[Number(String(r.value))]
        }),
        deadLetter({ topic: 'dead' }),
      )
    await run(project, thrown.length)
    expect(
      (await dead()).map(({ headers }) => readFailure(headers)).map((failure) => [failure?.error, failure?.message, failure?.code]),
    ).toEqual([
      ['string', 'a text', undefined],
      ['number', '42', undefined],
      ['null', 'null', undefined],
      ['undefined', 'undefined', undefined],
      ['object', '[object Object]', 'X'],
      ['object', 'object without text', undefined],
      ['symbol', 'Symbol(s)', undefined],
      ['Error', 'lone \ufffd surrogate', undefined],
    ])
  })

  for (const preset of PRESETS) {
    it(`a record that fails again and again does not grow (${preset})`, async () => {
      await cluster.createTopics([{ topic: 'dead2' }, { topic: 'dead3' }])
      await cluster.produce({ topic: 'in', records: [{ value: 'x', key: 'k', headers: { trace: ['1', '2'], own: '' } }] })
      const error = new Refused('no')
      const hop = (from: string, to: string) =>
        run(
          (records) =>
            records.pipe(
              attempt(() => Promise.reject(error)),
              deadLetter({ topic: to, headers: preset }),
            ),
          1,
          from,
        )
      await hop('in', 'dead')
      await hop('dead', 'dead2')
      await hop('dead2', 'dead3')
      const [[first], [second], [third]] = [await dead(), await readAll(cluster, 'dead2'), await readAll(cluster, 'dead3')]
      const shape = (letter: RawRecord | undefined): unknown =>
        Object.entries(letter?.headers ?? {}).map(([name, value]) => [name, Array.isArray(value) ? value.length : 1])
      expect(shape(second)).toEqual(shape(first))
      expect(shape(third)).toEqual(shape(first))
      expect(third).toMatchObject({
        key: Buffer.from('k'),
        value: Buffer.from('x'),
        headers: { trace: [Buffer.from('1'), Buffer.from('2')], own: Buffer.alloc(0) },
      })
      expect(readFailure(third?.headers ?? {})?.origin).toMatchObject({ topic: 'dead2' })
    })
  }

  describe('and the size of a record', () => {
    const LIMIT = 3_000
    const long = new Error(`it is ${'very '.repeat(100)}wrong`)
    long.stack = `Error: stack\n${'    at frame\n'.repeat(1_000)}`

    beforeEach(async () => {
      await cluster.deleteTopics(['dead'])
      await cluster.createTopics([{ topic: 'dead', config: { 'max.message.bytes': String(LIMIT) } }])
    })

    const letterFor = async (bytes: number): Promise<{ stack: number; message: number }> => {
      await cluster.produce({ topic: 'in', records: [{ key: 'k', value: Buffer.alloc(bytes, 'x'), partition: 0 }] })
      await run(failing(long))
      const letter = (await dead()).at(-1)
      expect(letter?.value).toEqual(Buffer.alloc(bytes, 'x'))
      const failure = readFailure(letter?.headers ?? {})
      return { stack: failure?.stack.length ?? -1, message: failure?.message.length ?? -1 }
    }

    it('the stack is cut, then the message, never the record', async () => {
      const seen: { stack: number; message: number }[] = []
      for (const bytes of [10, 1_000, 2_000, 2_100, 2_400, 2_600, 2_780]) seen.push(await letterFor(bytes))
      expect(seen.map(({ message }) => message)).toEqual([...seen].map(({ message }) => message).sort((a, b) => b - a))
      expect(seen.map(({ stack }) => stack)).toEqual([...seen].map(({ stack }) => stack).sort((a, b) => b - a))
      expect(seen[0]?.message).toBe(long.message.length)
      expect(seen[0]?.stack).toBeGreaterThan(2_000)
      expect(seen.at(-1)?.stack).toBe(0)
      expect(seen.at(-1)?.message).toBeLessThan(100)
      for (const { stack, message } of seen) expect(stack === 0 || message === long.message.length).toBe(true)
    })

    it('what does not fit with the shortest headers fails, named, and no offset passes it', async () => {
      await cluster.produce({
        topic: 'in',
        records: [
          { value: 'fits', partition: 0 },
          { value: Buffer.alloc(LIMIT - 100), partition: 0 },
          { value: 'behind', partition: 0 },
        ],
      })
      await expect(run(failing(long), 3)).rejects.toMatchObject({
        code: 'RECORD_FAILED',
        origin: { topic: 'in', partition: 0, offset: 1 },
        cause: { code: 'RECORD_TOO_LARGE', message: /in\/0\/1/ },
      })
      expect((await dead()).map(({ value }) => String(value))).toEqual(['fits'])
      expect((await committed())[0]).toBe(1)
    })

    it("what does not fit is not skipped either: with onError 'skip' it would be nowhere; with a dead-letter topic of the policy it goes there", async () => {
      const records = ['fits', Buffer.alloc(LIMIT - 100), 'behind'].map((value) => ({ value, partition: 0 }))
      await cluster.produce({ topic: 'in', records })
      await expect(run(failing(long), 3, 'in', { onError: 'skip' })).rejects.toMatchObject({
        code: 'RECORD_FAILED',
        origin: { topic: 'in', partition: 0, offset: 1 },
        message: expect.stringContaining('not skipped') as string,
        cause: { code: 'RECORD_TOO_LARGE' },
      })
      expect((await committed())[0]).toBe(1)
      await cluster.createTopics([{ topic: 'large', config: { 'max.message.bytes': String(10 * LIMIT) } }])
      await run(failing(long), 2, 'in', { onError: { deadLetter: 'large' } })
      expect((await dead()).map(({ value }) => String(value))).toEqual(['fits', 'behind'])
      expect((await values(cluster, 'large')).map((value) => value?.length)).toEqual([LIMIT - 100])
    })

    it('every size up to the one that fits is stored, not a byte is given away', async () => {
      let bytes = 2_790
      for (;;) {
        await cluster.produce({ topic: 'in', records: [{ key: 'k', value: Buffer.alloc(++bytes, 'x'), partition: 0 }] })
        const failure = await run(failing(long)).then(
          () => undefined,
          (error: unknown) => error,
        )
        if (failure !== undefined) break
      }
      const last = (await dead()).at(-1)
      expect(last?.value?.length).toBe(bytes - 1)
      expect(readFailure(last?.headers ?? {})).toMatchObject({ message: '', stack: '' })
    })

    it('maxStackBytes is kept to whole characters; 0 leaves the stack out', async () => {
      const error = new Error('no')
      error.stack = 'äöü€😀'.repeat(100)
      for (const maxStackBytes of [0, 1, 2, 3, 13, 14, 100]) {
        await cluster.produce({ topic: 'in', records: [{ value: 'x', partition: 0 }] })
        await run(failing(error, { maxStackBytes }))
        const stack = readFailure((await dead()).at(-1)?.headers ?? {})?.stack ?? ''
        expect(Buffer.byteLength(stack)).toBeLessThanOrEqual(maxStackBytes)
        expect(Buffer.byteLength(stack)).toBeGreaterThan(maxStackBytes - 4)
        expect(error.stack.startsWith(stack)).toBe(true)
      }
    })
  })

  it('is part of the transaction: a slice that runs again leaves each dead letter once', async () => {
    await cluster.produce({ topic: 'in', records: Array.from({ length: 40 }, (_, i) => ({ value: String(i), partition: i % 4 })) })
    let faults = 2
    await run(
      (records) =>
        records.pipe(
          attempt((r) => {
            if (Number(String(r.value)) % 2 === 0) throw new Error('even')
          }),
          deadLetter({ topic: 'dead' }),
          tap((r) => {
            if (Number(String(r.value)) > 30 && faults-- > 0) throw new Error('for a moment')
          }),
          toTopic({ topic: 'out' }),
        ),
      40,
    )
    const numbers = (rest: number): string[] => Array.from({ length: 20 }, (_, i) => String(2 * i + rest)).sort()
    expect(await values(cluster, 'dead')).toEqual(numbers(0))
    expect(await values(cluster, 'out')).toEqual(numbers(1))
  })

  it('stands in the plan: a missing topic is found before anything is read', async () => {
    const pipeline = cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(orders({ topic: 'nowhere' })))
    expect(describePipeline(pipeline).outputs).toContainEqual({ topic: 'nowhere', writtenBy: ['deadLetter'] })
    await cluster.produce({ topic: 'in', records: [{ value: 'x' }] })
    await expect(run(orders({ topic: 'nowhere' }))).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
    expect(await committed()).toEqual([undefined, undefined, undefined, undefined])
  })

  it('keeps what the partition holds, whatever the steps before made of it', async () => {
    await cluster.produce({ topic: 'in', records: [{ key: 'k', value: '{"id":"a","amount":1}', headers: { h: '1' }, timestamp: 5 }] })
    await run((records) =>
      records.pipe(
        decode(Order),
        map((item) => (isFailed(item) ? item : item.with({ key: 7, value: { other: item.value }, headers: { gone: 'x' } }))),
        attempt(() => Promise.reject(new Error('no'))),
        deadLetter({ topic: 'dead' }),
        dropFailed(),
      ),
    )
    expect((await dead())[0]).toMatchObject({
      key: Buffer.from('k'),
      value: Buffer.from('{"id":"a","amount":1}'),
      headers: { h: Buffer.from('1') },
      timestamp: 5,
    })
    expect(Object.keys((await dead())[0]?.headers ?? {})).not.toContain('gone')
  })

  it('takes failures that user code makes, and counts them', async () => {
    await cluster.produce({ topic: 'in', records: [{ value: 'x' }, { value: 'y' }] })
    const commits = await run(
      (records) =>
        records.pipe(
          map((r) => (String(r.value) === 'x' ? new FailedRecord(r as LogRecord<unknown, unknown>, new Error('no'), 'own') : r)),
          deadLetter({ topic: 'dead' }),
          toTopic({ topic: 'out' }),
        ),
      2,
    )
    expect([sumOf(commits, 'failed'), sumOf(commits, 'processed'), sumOf(commits, 'filtered')]).toEqual([1, 1, 0])
    expect(readFailure((await dead())[0]?.headers ?? {})).toMatchObject({ step: 'own', attempts: 1 })
  })

  it('a record that user code made is stored if it is text or bytes, and refused otherwise', async () => {
    await cluster.produce({ topic: 'in', records: [{ value: 'x' }] })
    const made =
      (value: unknown) =>
      (records: RecordStream): Observable<unknown> =>
        records.pipe(
          map(() => record({ key: null, value, headers: { h: '1' }, timestamp: 5 })),
          attempt(() => Promise.reject(new Error('no'))),
          deadLetter({ topic: 'dead' }),
        )
    await expect(run(made({ an: 'object' }))).rejects.toMatchObject({ code: 'RECORD_FAILED', cause: { code: 'ENCODE_FAILED' } })
    await run(made('text'))
    expect((await dead())[0]).toMatchObject({ value: Buffer.from('text'), headers: { h: Buffer.from('1') } })
  })

  it('refuses wrong options by name', () => {
    expect(() => deadLetter({ topic: 'not a topic', headers: 'sprng', maxStackBytes: -1, to: 'x' } as never)).toThrow(
      /topic: topic names[^]*headers: expected 'millrace'[^]*maxStackBytes:[^]*unknown option 'to'/,
    )
  })
})
