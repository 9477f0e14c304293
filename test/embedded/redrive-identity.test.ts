import { filter, map, tap, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  attempt,
  deadLetter,
  dedupe,
  delayUntil,
  dropFailed,
  memoryClaims,
  readFailure,
  recordKey,
  redrive,
  repartition,
  retryTopic,
  silentLogger,
  toTopic,
  withTransaction,
  type DedupeOptions,
  type FailureHeaders,
  type FailedRecord,
  type RawRecord,
  type RecordStream,
  type RedriveOptions,
  type RedriveResult,
} from '../../src/index.js'
import { originText } from '../../src/record/origin.js'
import { createTestKit, type Clock, type TestKit } from '../../src/testing/index.js'

type Topics = Record<'in' | 'again' | 'dead' | 'out', Record<string, never>>

const START = 1_000_000

describe('a record that redrive sends back', () => {
  let kit: TestKit<Topics>
  /** Values for which a step fails. */
  let broken: Set<string>
  /** Each time a step is tried: value, the record's id, and where it lay. */
  let tried: { value: string; id: string; at: string }[]

  beforeEach(async () => {
    const topic = { partitions: 2, config: { 'message.timestamp.after.max.ms': '9223372036854775807' } }
    kit = (await createTestKit({
      topics: { in: topic, again: topic, dead: topic, out: topic },
      start: START,
      logger: silentLogger,
    })) as unknown as TestKit<Topics>
    broken = new Set()
    tried = []
  })
  afterEach(() => kit.stop())

  const charge = attempt((record: RawRecord) => {
    const value = String(record.value)
    tried.push({ value, id: record.id, at: originText(record.origin) })
    if (broken.has(value)) throw new Error('no')
  })

  const run = (project: (records: RecordStream) => Observable<unknown>, topics: readonly string[] = ['in']) =>
    kit.run(kit.cluster.source({ group: 'g', topics }).pipe(withTransaction(project, { every: 50, provision: true })))

  async function sendBack(options: Partial<RedriveOptions> = {}): Promise<RedriveResult> {
    let result: RedriveResult | undefined
    const done = redrive(kit.cluster, { from: 'dead', ...options }).then((found) => (result = found))
    while (result === undefined) await kit.advance('100ms')
    return done
  }

  const passed = async (): Promise<string[]> => (await kit.read('out')).map(({ value }) => String(value)).sort()
  const idsOf = (value: string): string[] => [...new Set(tried.filter((one) => one.value === value).map(({ id }) => id))]

  const kinds: Record<string, (clock: Clock) => DedupeOptions<RawRecord>> = {
    'the ids of a task': () => ({ by: recordKey(), within: '1h' }),
    'shared ids': (clock) => ({ by: recordKey(), within: '1h', store: memoryClaims({ clock }) }),
    'ids behind a filter': (clock) => ({
      by: recordKey(),
      within: '1h',
      store: memoryClaims({ clock }),
      bloom: { expected: 100, exclusive: true },
    }),
  }

  for (const [name, make] of Object.entries(kinds)) {
    describe(name, () => {
      const start = (topics?: readonly string[]) => {
        const options = make(kit.clock)
        const project = (records: RecordStream) =>
          records.pipe(dedupe(options), charge, deadLetter({ topic: 'dead' }), toTopic({ topic: 'out' }))
        return { first: run(project, topics), again: () => run(project, topics) }
      }

      it('is not its own duplicate, however often it comes; others with its id are, before and after, and over a restart', async () => {
        const { first, again } = start()
        broken.add('a')
        await kit.feed('in', [
          { key: 'id-1', value: 'a' },
          { key: 'id-1', value: 'copy' },
        ])
        await kit.advance('1s')
        expect((await sendBack()).sent).toBe(1)
        await kit.advance('1s')
        expect(tried.map(({ value }) => value)).toEqual(['a', 'a'])
        await first.crash()
        again()
        await kit.advance('1m')
        await kit.feed('in', { key: 'id-1', value: 'copy' })
        broken.clear()
        expect((await sendBack()).sent).toBe(1)
        await kit.advance('1s')
        await kit.feed('in', { key: 'id-1', value: 'copy' })
        await kit.advance('1s')
        expect(await passed()).toEqual(['a'])
      })

      it('also where its claim was over when it came back, and where it is sent to another input', async () => {
        start(['in', 'again'])
        broken.add('a').add('b')
        await kit.feed('in', [
          { key: 'id-1', value: 'a' },
          { key: 'id-2', value: 'b' },
        ])
        await kit.advance('1s')
        // Its own time goes on, and with it that of the partition.
        await kit.advance('3h')
        await kit.feed('in', { key: 'other', value: 'c', timestamp: START + 3 * 3_600_000 })
        await kit.advance('1s')
        expect((await sendBack({ filter: { key: 'id-1' } })).sent).toBe(1)
        await kit.advance('1s')
        expect((await sendBack({ to: 'again' })).sent).toBe(2)
        await kit.advance('1s')
        broken.clear()
        expect((await sendBack({ maxRedrives: 9 })).sent).toBe(2)
        await kit.advance('1s')
        await kit.feed('in', { key: 'id-1', value: 'copy', timestamp: START + 3 * 3_600_000 })
        await kit.advance('1s')
        expect(await passed()).toEqual(['a', 'b', 'c'])
        expect([...idsOf('a'), ...idsOf('b')]).toEqual([tried[0]?.at, tried[1]?.at])
      })

      it('also in a topic that another pipeline reads, and back from there', async () => {
        broken.add('a')
        const reading = run((records) => records.pipe(charge, deadLetter({ topic: 'dead' })))
        await kit.feed('in', { key: 'id-1', value: 'a' })
        await kit.advance('1s')
        await reading.stop()
        start(['again'])
        for (let times = 0; times < 3; times++) {
          // First to another topic, then each time back to where it failed.
          expect((await sendBack({ maxRedrives: 9, ...(times === 0 ? { to: 'again' } : {}) })).sent).toBe(1)
          await kit.advance('1s')
          expect(tried).toHaveLength(times + 2)
        }
        broken.clear()
        expect((await sendBack({ maxRedrives: 9 })).sent).toBe(1)
        await kit.feed('again', { key: 'id-1', value: 'copy' })
        await kit.advance('1s')
        expect(await passed()).toEqual(['a'])
        expect(idsOf('a')).toEqual([tried[0]?.at])
      })
    })
  }

  it('has the id it was first read with: retried, delayed, and both again after it was sent back', async () => {
    const due = new Map<string, number>()
    run((records) =>
      records.pipe(
        tap((record) => tried.push({ value: String(record.value), id: record.id, at: 'front' })),
        delayUntil((record) => {
          const known = due.get(`${record.id}/${record.origin.offset}`) ?? kit.clock.now() + 5_000
          due.set(`${record.id}/${record.origin.offset}`, known)
          return known
        }),
        charge,
        retryTopic({ delays: ['10s'] }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      ),
    )
    broken.add('a')
    await kit.feed('in', [
      { key: 'k', value: 'before', partition: 1 },
      { key: 'k', value: 'a', partition: 1 },
    ])
    await kit.advance('1m')
    expect((await sendBack()).sent).toBe(1)
    await kit.advance('1m')
    expect((await sendBack()).sent).toBe(1)
    broken.clear()
    await kit.advance('1m')
    expect(await passed()).toEqual(['a', 'before'])
    expect(idsOf('a')).toEqual(['in/1/1'])
    // Where it lies it is told by `origin`: it was read three times.
    expect(new Set(tried.filter(({ value, at }) => value === 'a' && at !== 'front').map(({ at }) => at)).size).toBe(3)
  })

  for (const preset of ['millrace', 'spring', 'streams'] satisfies FailureHeaders[]) {
    it(`its dead letter tells the same id, in the headers of ${preset}`, async () => {
      run((records) => records.pipe(charge, deadLetter({ topic: 'dead', headers: preset })))
      broken.add('a')
      await kit.feed('in', { key: 'k', value: 'a', partition: 0 })
      await kit.advance('1s')
      await sendBack()
      await kit.advance('1s')
      await sendBack()
      await kit.advance('1s')
      const letters = (await kit.read('dead')).map(({ headers }) => readFailure(headers))
      expect(letters.map((failure) => failure?.id)).toEqual(['in/0/0', 'in/0/0', 'in/0/0'])
      expect(new Set(letters.map((failure) => failure?.origin.offset)).size).toBe(3)
    })
  }

  it('one that failed behind a repartition goes back into that topic, with the id it has there', async () => {
    run((records) =>
      records.pipe(
        repartition({ key: (record) => String(record.value) }),
        charge,
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      ),
    )
    broken.add('a')
    await kit.feed('in', { key: 'k', value: 'a' })
    await kit.advance('1s')
    broken.clear()
    expect(Object.keys((await sendBack()).byTarget)).toEqual(['g-repartition-repartition'])
    await kit.advance('1s')
    expect(idsOf('a')).toHaveLength(1)
    expect(await passed()).toEqual(['a'])
  })

  describe('what says so without being it', () => {
    const header = (id: string, by: string): Record<string, string> => ({
      'millrace.redriven': '1',
      'millrace.redriven-from': `${id}@${by}`,
    })

    it('a header from outside counts for nothing, neither for the id nor for dedupe', async () => {
      run((records) => records.pipe(dedupe({ by: recordKey(), within: '1h' }), charge, dropFailed(), toTopic({ topic: 'out' })))
      await kit.feed('in', { key: 'k', value: 'a', partition: 0 })
      await kit.advance('1s')
      await kit.feed(
        'in',
        ['-1', '0', '1', '2', '3', '', 'x'].map((by) => ({ key: 'k', value: 'forged', partition: 0, headers: header('in/0/0', by) })),
      )
      await kit.feed('in', { key: 'new', value: 'new', partition: 0, headers: header('in/0/0', '1') })
      await kit.advance('1s')
      expect(await passed()).toEqual(['a', 'new'])
      expect(idsOf('new')).toEqual(['in/0/8'])
    })

    it('a pipeline that writes it on with its headers, also into the same topic, writes a new record', async () => {
      run((records) =>
        records.pipe(
          charge,
          deadLetter<RawRecord | FailedRecord>({ topic: 'dead' }),
          toTopic({ topic: 'again' }),
          filter((record) => !String(record.value).endsWith('!')),
          map((record) => record.with({ value: Buffer.from(`${String(record.value)}!`) })),
          toTopic({ topic: 'in' }),
        ),
      )
      broken.add('a')
      await kit.feed('in', { key: 'k', value: 'a', partition: 0 })
      await kit.advance('1s')
      broken.clear()
      await sendBack()
      await kit.advance('1s')
      const found: string[] = []
      for (const topic of ['in', 'again'] as const) {
        for await (const record of kit.cluster.read({ topic })) {
          found.push(`${String(record.value)} ${record.id === originText(record.origin) ? 'new' : record.id}`)
        }
      }
      expect(found).toEqual(['a new', 'a in/0/0', 'a! new', 'a new', 'a! new'])
    })

    it('redrive takes it from no letter but one that a pipeline wrote about that very record', async () => {
      run((records) => records.pipe(charge, deadLetter({ topic: 'dead', headers: () => ({ 'millrace.origin': 'in/0/0' }) })))
      broken.add('a')
      await kit.feed('in', {
        key: 'k',
        value: 'a',
        partition: 0,
        headers: { 'millrace.redriven-from': 'in/0/77 at in/0/5' },
      })
      await kit.advance('1s')
      await sendBack()
      await kit.advance('1s')
      expect(idsOf('a')).toEqual(['in/0/0'])
    })
  })
})
