import { map, mergeMap, tap, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  attempt,
  deadLetter,
  decode,
  delayUntil,
  deliveryAttempt,
  dropFailed,
  json,
  mapValue,
  readFailure,
  retryTopic,
  schedule,
  toTopic,
  withTransaction,
  type Commit,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import type { Fault, TestKit } from '../../src/testing/index.js'
import { START, inOutDeadKit } from '../support/in-out-dead-kit.js'

const DAY = 86_400_000

const pipeline = (
  kit: TestKit,
  project: (records: RecordStream) => Observable<unknown>,
  options: TransactionOptions = {},
): Observable<Commit> =>
  kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true, retryDelay: 1, ...options }))

/** Values are '<name>@<ms after the start>'. */
const timeOf = ({ value }: RawRecord): number => START + Number(String(value).split('@')[1])
const delaying = (records: RecordStream): Observable<unknown> => records.pipe(delayUntil(timeOf), toTopic({ topic: 'out' }))
const outputs = async (kit: TestKit, topic = 'out'): Promise<(string | null)[]> =>
  (await kit.read(topic, { from: 'earliest' })).map(({ value }) => value)
const feed = (kit: TestKit, ...values: string[]): Promise<number> =>
  kit.feed(
    'in',
    values.map((value) => ({ key: value.split('@')[0] as string, value, partition: 0 })),
  )
const sum = (commits: readonly Commit[], name: string): number => commits.reduce((total, { meters }) => total + (meters[name] ?? 0), 0)

describe('delayUntil', () => {
  it('a record that fails at the very moment something else is due is the one that is taken out', async () => {
    const kit = await inOutDeadKit()
    kit.run(
      pipeline(
        kit,
        (records) =>
          records.pipe(
            mergeMap(async (record) => {
              if (String(record.value) !== 'bad@0') return record
              await new Promise((resolve) => kit.clock.after(1_000, () => resolve(undefined)))
              throw new Error('cannot take it')
            }),
            delayUntil(timeOf),
            toTopic({ topic: 'out' }),
          ),
        { every: '10s', retries: 0, onError: { deadLetter: 'dead' } },
      ),
    )
    await feed(kit, 'good@1000', 'bad@0')
    await kit.advance('30s')
    expect(await outputs(kit)).toEqual(['good@1000'])
    expect(await outputs(kit, 'dead')).toEqual(['bad@0'])
  })

  it('a record passes at its time, not before, though no other comes; one whose time has come passes at once', async () => {
    const kit = await inOutDeadKit()
    const running = kit.run(pipeline(kit, delaying))
    await feed(kit, 'b@5000', 'a@1000', 'now@0', 'past@-100')
    await kit.advance('900ms')
    expect(await outputs(kit)).toEqual(['now@0', 'past@-100'])
    await kit.advance('99ms')
    expect(await outputs(kit)).toHaveLength(2)
    await kit.advance('150ms')
    expect(await outputs(kit)).toEqual(['now@0', 'past@-100', 'a@1000'])
    await kit.advance('5s')
    expect(await outputs(kit)).toEqual(['now@0', 'past@-100', 'a@1000', 'b@5000'])
    expect([sum(running.commits, 'delay.held'), sum(running.commits, 'delay.passed')]).toEqual([2, 2])
    for (const { records, processed } of running.commits) expect(records).toBe(processed)
  })

  it('any time ahead, by Date or number', async () => {
    const kit = await inOutDeadKit()
    const far = (): Observable<Commit> =>
      pipeline(kit, (records) =>
        records.pipe(
          delayUntil(() => new Date(START + 400 * DAY)),
          toTopic({ topic: 'out' }),
        ),
      )
    const first = kit.run(far())
    await feed(kit, 'far')
    await kit.advance('1s')
    await first.stop()
    await kit.advance(400 * DAY - 10_000)
    kit.run(far())
    await kit.advance('5s')
    expect(await outputs(kit)).toEqual([])
    await kit.advance('10s')
    expect(await outputs(kit)).toEqual(['far'])
  })

  it('those of one time pass in the order they came, all others by time', async () => {
    const kit = await inOutDeadKit()
    kit.run(pipeline(kit, delaying, { maxRecords: 7 }))
    const values = Array.from({ length: 300 }, (_, i) => `v${i}@${1_000 + ((i * 7) % 5) * 100}`)
    await feed(kit, ...values)
    await kit.advance('10s')
    const at = (value: string): number => Number(value.split('@')[1])
    expect(await outputs(kit)).toEqual([...values].sort((a, b) => at(a) - at(b)))
  })

  it('it passes as it was read: key, value, headers, time and origin; also as the raw record of a failure', async () => {
    const kit = await inOutDeadKit()
    const seen: RawRecord[] = []
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        delayUntil(timeOf),
        tap((record) => seen.push(record)),
        attempt(({ value }) => {
          if (String(value).startsWith('bad')) throw new Error('bad')
        }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      )
    kit.run(pipeline(kit, project))
    const headers = { a: ['1', '2'], none: null, empty: '' }
    await kit.feed('in', [
      { key: 'k', value: 'good@1000', headers, timestamp: 5 },
      { key: null, value: 'bad@1000', timestamp: 6 },
    ])
    await kit.advance('5s')
    const [written] = await kit.read('out')
    expect(written).toMatchObject({ key: 'k', value: 'good@1000', timestamp: 5 })
    expect(written?.headers).toEqual(
      Object.assign(Object.create(null), { a: [Buffer.from('1'), Buffer.from('2')], none: null, empty: Buffer.from('') }),
    )
    expect(seen.map(({ id }) => id)).toEqual(['in/0/0', 'in/0/1'])
    const [letter] = await kit.read('dead')
    expect(letter).toMatchObject({ key: null, value: 'bad@1000', timestamp: 6 })
    expect(readFailure(letter?.headers ?? {})).toMatchObject({ origin: { topic: 'in', partition: 0, offset: 1 } })
  })

  it('what was decoded and changed passes as it was; a retried record goes back to its own bytes', async () => {
    const kit = await inOutDeadKit()
    const Order = z.object({ id: z.string(), at: z.number(), amount: z.number().nullable() })
    const attempts: unknown[] = []
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        decode(Order),
        dropFailed(),
        map((record) => record.with({ headers: { seen: 'yes' } })),
        mapValue((order) => ({ ...order, amount: order.amount === null ? null : order.amount * 2 })),
        delayUntil(({ value }) => START + value.at, { value: json() }),
        attempt((record) => {
          attempts.push([deliveryAttempt(record), record.value, String(record.headers['seen'])])
          if (deliveryAttempt(record) === 1) throw new Error('once')
        }),
        retryTopic({ delays: ['1s'] }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out', value: json() }),
      )
    kit.run(pipeline(kit, project))
    await kit.feed('in', [
      { key: 'k', value: '{"id":"a","at":5000,"amount":3}' },
      { key: 'k', value: '{ "id":"b", "at":6000,"amount":null}' },
    ])
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['{"id":"a","at":5000,"amount":6}', '{"id":"b","at":6000,"amount":null}'])
    expect(attempts).toEqual(
      [1, 1, 2, 2].map((n, i) => [n, i % 2 === 0 ? { id: 'a', at: 5_000, amount: 6 } : { id: 'b', at: 6_000, amount: null }, 'yes']),
    )
    expect(await outputs(kit, 'in.g.retry.1s')).toEqual(['{"id":"a","at":5000,"amount":3}', '{ "id":"b", "at":6000,"amount":null}'])
  })

  it('several records of one origin wait side by side', async () => {
    const kit = await inOutDeadKit()
    kit.run(
      pipeline(kit, (records) =>
        records.pipe(
          mergeMap((record) => [1, 2, 3].map((n) => record.with({ value: Buffer.from(`${n}@1000`) }))),
          delayUntil(timeOf),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await feed(kit, 'x')
    await kit.advance('5s')
    expect(await outputs(kit)).toEqual(['1@1000', '2@1000', '3@1000'])
  })

  it('waits on through a restart, a crash and a rebalance', async () => {
    const kit = await inOutDeadKit(4)
    const values = Array.from({ length: 40 }, (_, i) => `v${i}@${5_000 + i * 500}`)
    let running = kit.run(pipeline(kit, delaying))
    await kit.feed(
      'in',
      values.map((value, i) => ({ value, partition: i % 4 })),
    )
    await kit.advance('7s')
    await running.stop()
    running = kit.run(pipeline(kit, delaying))
    await kit.advance('3s')
    await running.crash()
    const [first, second] = [kit.run(pipeline(kit, delaying)), kit.run(pipeline(kit, delaying))]
    await kit.advance('50s')
    await first.stop()
    await kit.advance('10s')
    expect(second.ended).toBe(false)
    expect((await outputs(kit)).sort()).toEqual([...values].sort())
  })

  const faults: Record<string, Fault> = {
    'an aborted produce': { at: 'produce', of: 'out', reaction: 'abort', times: 2 },
    'refused offsets': { at: 'offsets', reaction: 'abort', after: 1, times: 3 },
    'a lost generation': { at: 'offsets', reaction: 'lost', after: 2 },
    'a commit without an answer that took effect': { at: 'end', reaction: 'indeterminate', tookEffect: true, after: 1, times: 2 },
    'a commit without an answer that did not': { at: 'end', reaction: 'indeterminate', tookEffect: false, after: 1, times: 2 },
  }
  for (const [name, fault] of Object.entries(faults)) {
    it(`each passes once through ${name}`, async () => {
      const kit = await inOutDeadKit(2)
      kit.run(pipeline(kit, delaying, { maxRecords: 20 }))
      const values = Array.from({ length: 100 }, (_, i) => `v${i}@${500 + i * 30}`)
      await kit.feed(
        'in',
        values.map((value, i) => ({ value, partition: i % 2 })),
      )
      for (let i = 0; i < 5; i++) {
        kit.broker.faults.inject(fault)
        await kit.advance('700ms')
      }
      kit.broker.faults.clear()
      await kit.advance('2m')
      expect((await outputs(kit)).sort()).toEqual([...values].sort())
    })
  }

  it('many that come due at once pass in transactions of bounded size', async () => {
    const kit = await inOutDeadKit()
    const running = kit.run(pipeline(kit, delaying))
    const values = Array.from({ length: 25_000 }, (_, i) => `${i}@10000`)
    await feed(kit, ...values)
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(values)
    expect(sum(running.commits, 'delay.passed')).toBe(25_000)
  })

  it('a due record on which a plain operator fails stops the pipeline, whatever else there is to do', async () => {
    const kit = await inOutDeadKit()
    kit.run(
      pipeline(kit, (records) =>
        records.pipe(
          delayUntil(timeOf),
          tap(({ value }) => {
            if (String(value).startsWith('bad')) throw new Error('cannot take it')
          }),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await feed(kit, 'bad@1000', 'good@0')
    // So that records have been read in the transaction in which it comes due.
    await kit.advance('550ms')
    const goOn = async (): Promise<void> => {
      for (let i = 0; i < 40; i++) {
        await feed(kit, `more${i}@0`)
        await kit.advance('100ms')
      }
    }
    await expect(goOn()).rejects.toThrow('cannot take it')
  })

  it('refuses what is no time, and options it does not know', async () => {
    const kit = await inOutDeadKit()
    kit.run(
      pipeline(
        kit,
        (records) =>
          records.pipe(
            delayUntil(() => Number.NaN),
            toTopic({ topic: 'out' }),
          ),
        { onError: { deadLetter: 'dead' } },
      ),
    )
    await feed(kit, 'x')
    await kit.advance('1s')
    expect(await outputs(kit, 'dead')).toEqual(['x'])
    expect(() => delayUntil<RawRecord>(timeOf, { until: 5 } as never)).toThrow(/until/)
    expect(() => delayUntil<RawRecord>(5 as never)).toThrow(/first argument/)
    expect(() => schedule<RawRecord>({ at: timeOf, id: () => 'x' } as never)).toThrow(/partitioned/)
  })
})

describe('schedule', () => {
  /** 'cancel' takes back. */
  const scheduling = (records: RecordStream): Observable<unknown> =>
    records.pipe(schedule({ at: timeOf, cancel: ({ value }) => String(value) === 'cancel' }), toTopic({ topic: 'out' }))
  const send = (kit: TestKit, key: string, value: string): Promise<number> => kit.feed('in', [{ key, value, partition: 0 }])

  it('a later record of a key takes the place of the one that waits', async () => {
    const kit = await inOutDeadKit()
    const running = kit.run(pipeline(kit, scheduling))
    await send(kit, 'a', 'first@5000')
    await send(kit, 'b', 'other@5000')
    await kit.advance('1s')
    await send(kit, 'a', 'second@9000')
    await kit.advance('6s')
    expect(await outputs(kit)).toEqual(['other@5000'])
    await kit.advance('5s')
    expect(await outputs(kit)).toEqual(['other@5000', 'second@9000'])
    await send(kit, 'a', 'third@60000')
    await kit.advance('1s')
    await send(kit, 'a', 'fourth@0')
    await kit.advance('2m')
    expect(await outputs(kit)).toEqual(['other@5000', 'second@9000', 'fourth@0'])
    expect(sum(running.commits, 'schedule.replaced')).toBe(2)
  })

  it('earlier or later, it is the last that counts', async () => {
    const kit = await inOutDeadKit()
    kit.run(pipeline(kit, scheduling))
    await send(kit, 'a', 'late@9000')
    await send(kit, 'a', 'soon@3000')
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['soon@3000'])
  })

  it('what was cancelled does not pass; a cancellation of nothing does nothing', async () => {
    const kit = await inOutDeadKit()
    const running = kit.run(pipeline(kit, scheduling))
    await send(kit, 'a', 'first@5000')
    await kit.advance('1s')
    await send(kit, 'a', 'cancel')
    await send(kit, 'b', 'cancel')
    await kit.advance('10s')
    expect(await outputs(kit)).toEqual([])
    await send(kit, 'a', 'again@20000')
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['again@20000'])
    expect(sum(running.commits, 'schedule.cancelled')).toBe(1)
  })

  it('replacing and cancelling roll back with their transaction, and survive a crash', async () => {
    const kit = await inOutDeadKit()
    let running = kit.run(pipeline(kit, scheduling))
    await send(kit, 'a', 'first@5000')
    await send(kit, 'b', 'cancelled@5000')
    await kit.advance('1s')
    kit.broker.faults.inject({ at: 'offsets', reaction: 'abort', times: 3 })
    await kit.feed('in', [
      { key: 'a', value: 'second@8000' },
      { key: 'b', value: 'cancel' },
    ])
    await kit.advance('3s')
    await running.crash()
    running = kit.run(pipeline(kit, scheduling))
    await kit.advance('5m')
    expect(await outputs(kit)).toEqual(['second@8000'])
    // Only what is left is in the state.
    const last = new Map((await kit.read('g-schedule-changelog', { from: 'earliest' })).map(({ key, value }) => [key, value]))
    expect([...last.values()]).toEqual([null, null])
  })

  it('one that comes late from a retry topic replaces nothing newer', async () => {
    const kit = await inOutDeadKit()
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        attempt((record) => {
          if (String(record.value).startsWith('old') && deliveryAttempt(record) === 1) throw new Error('once')
        }),
        schedule({ at: (record) => timeOf(record), id: ({ value }) => String(value).slice(3, 4), partitioned: true }),
        retryTopic({ delays: ['2s'] }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      )
    const running = kit.run(pipeline(kit, project))
    await send(kit, 'x', 'oldA@30000')
    await send(kit, 'x', 'newA@20000')
    await kit.advance('2m')
    expect(await outputs(kit)).toEqual(['newA@20000'])
    expect(sum(running.commits, 'schedule.superseded')).toBe(1)
  })
})
