import { lastValueFrom, tap, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  FailedRecord,
  MillraceError,
  attempt,
  dropFailed,
  embedded,
  mapValue,
  silentLogger,
  string,
  toTopic,
  withTransaction,
  type AttemptOptions,
  type Cluster,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import { createEmbeddedBroker } from '../../src/testing/index.js'
import { VirtualClock } from '../../src/testing/virtual-clock.js'
import { contents, runUntil, sumOf, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

const out = toTopic<RawRecord>({ topic: 'out' })
const text = (record: { readonly value: Buffer | null }): string => String(record.value)

/** A function whose calls end when the test says so. */
class Gate {
  readonly started: string[] = []
  private readonly open = new Map<string, { resolve: () => void; reject: (error: Error) => void }>()
  most = 0

  readonly call = (record: RawRecord): Promise<void> =>
    new Promise((resolve, reject) => {
      this.started.push(text(record))
      this.open.set(text(record), { resolve, reject })
      this.most = Math.max(this.most, this.open.size)
    })

  end(value: string, error?: Error): void {
    const call = this.open.get(value)
    this.open.delete(value)
    if (error === undefined) call?.resolve()
    else call?.reject(error)
  }
}

describe('attempt', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([{ topic: 'in' }, { topic: 'out' }])
  })

  afterEach(() => cluster.close())

  const feed = (...records: readonly string[]): Promise<number> =>
    cluster.produce({ topic: 'in', records: records.map((value) => ({ key: /^[a-z]/.test(value) ? value.slice(0, 1) : null, value })) })
  const run = (project: (records: RecordStream) => Observable<unknown>, records: number) =>
    runUntil(cluster, { group: 'g', topics: ['in'], records }, project)
  const written = async (): Promise<(string | null)[]> => (await contents(cluster, 'out')).map(({ value }) => value)

  it('takes what the function returns: a value, a record, a promise of either, or nothing', async () => {
    await feed('value', 'record', 'promise', 'promised record', 'nothing')
    const answer = (record: RawRecord): string | RawRecord | Promise<string | RawRecord> | undefined => {
      if (text(record) === 'value') return 'V'
      if (text(record) === 'record') return record.with({ key: Buffer.from('k'), value: Buffer.from('R') })
      if (text(record) === 'promise') return Promise.resolve('P')
      if (text(record) === 'promised record') return Promise.resolve(record.with({ value: Buffer.from('PR') }))
      return undefined
    }
    await run((records) => records.pipe(attempt(answer, { order: 'partition' }), dropFailed(), toTopic({ topic: 'out' })), 5)
    expect(await written()).toEqual(['V', 'R', 'P', 'PR', 'nothing'])
    expect((await contents(cluster, 'out'))[1]?.key).toBe('k')
  })

  it('what the function throws or rejects with fails its record alone, which keeps the bytes it was read with', async () => {
    await feed('1', 'thrown', '2', 'rejected', '3')
    const failed: FailedRecord[] = []
    const commits = await run(
      (records) =>
        records.pipe(
          mapValue(String),
          attempt(
            ({ value }) => {
              if (value === 'thrown') throw new Error('no')
              return value === 'rejected' ? Promise.reject(new Error('never')) : undefined
            },
            { step: 'check' },
          ),
          dropFailed({ tap: (one) => failed.push(one) }),
          toTopic({ topic: 'out', value: string() }),
        ),
      5,
    )
    expect(await written()).toEqual(['1', '2', '3'])
    expect(failed.map(({ step, attempts, error, raw }) => [step, attempts, (error as Error).message, raw.value])).toEqual([
      ['check', 1, 'no', Buffer.from('thrown')],
      ['check', 1, 'never', Buffer.from('rejected')],
    ])
    expect([sumOf(commits, 'processed'), sumOf(commits, 'failed')]).toEqual([3, 2])
  })

  it('a function that returns no promise stays synchronous: each record is out before the next goes in', async () => {
    await feed('1', '2', '3')
    const log: string[] = []
    await run(
      (records) =>
        records.pipe(
          tap((r) => log.push(`in ${text(r)}`)),
          attempt(() => undefined),
          tap(() => log.push('out')),
          dropFailed(),
          out,
        ),
      3,
    )
    expect(log).toEqual(['in 1', 'out', 'in 2', 'out', 'in 3', 'out'])
  })

  describe('order and concurrency', () => {
    const start = async (
      options: AttemptOptions,
      ...records: string[]
    ): Promise<{ gate: Gate; out: string[]; finished: Promise<unknown> }> => {
      await feed(...records)
      const gate = new Gate()
      const seen: string[] = []
      const finished = run(
        (stream) =>
          stream.pipe(
            attempt(gate.call, options),
            dropFailed(),
            tap((r) => seen.push(text(r))),
            out,
          ),
        records.length,
      )
      return { gate, out: seen, finished }
    }
    const settled = (list: readonly string[], records: readonly string[]) =>
      until(() => list.join(' ') === records.join(' '), { what: `[${records.join(' ')}]` })
    const started = (gate: Gate, ...records: string[]) => settled(gate.started, records)
    const came = (seen: string[], ...records: string[]) => settled(seen, records)

    it('key: one record of a key after the other, different keys and records without one side by side', async () => {
      const { gate, out: seen, finished } = await start({ concurrency: 4 }, 'a1', 'a2', 'b1', '1', '2', '3')
      await started(gate, 'a1', 'b1', '1', '2')
      gate.end('b1')
      await started(gate, 'a1', 'b1', '1', '2', '3')
      gate.end('2')
      gate.end('a1')
      await started(gate, 'a1', 'b1', '1', '2', '3', 'a2')
      for (const record of ['a2', '3', '1']) gate.end(record)
      await finished
      expect(seen.filter((record) => record.startsWith('a'))).toEqual(['a1', 'a2'])
      expect(seen.slice(0, 3)).toEqual(['b1', '2', 'a1'])
      expect(gate.most).toBe(4)
    })

    it('partition: side by side, out as they came', async () => {
      const { gate, out: seen, finished } = await start({ order: 'partition', concurrency: 3 }, 'a1', 'a2', 'a3', 'a4')
      await started(gate, 'a1', 'a2', 'a3')
      gate.end('a2')
      await started(gate, 'a1', 'a2', 'a3', 'a4')
      gate.end('a4')
      expect(seen).toEqual([])
      gate.end('a1')
      await came(seen, 'a1', 'a2')
      gate.end('a3')
      await finished
      expect(seen).toEqual(['a1', 'a2', 'a3', 'a4'])
    })

    it('none: out as they are done', async () => {
      const { gate, out: seen, finished } = await start({ order: 'none' }, 'a1', 'a2', 'a3')
      await started(gate, 'a1', 'a2', 'a3')
      for (const record of ['a3', 'a1', 'a2']) {
        gate.end(record)
        await until(() => seen.includes(record))
      }
      await finished
      expect(seen).toEqual(['a3', 'a1', 'a2'])
    })

    it('a concurrency of 1 is strictly one after the other, whatever the order option says', async () => {
      const { gate, out: seen, finished } = await start({ concurrency: 1 }, 'a1', 'a2', 'b1', 'c1')
      for (const record of ['a1', 'a2', 'b1', 'c1']) {
        await until(() => gate.started.at(-1) === record)
        gate.end(record)
      }
      await finished
      expect([seen, gate.most]).toEqual([['a1', 'a2', 'b1', 'c1'], 1])
    })

    it('failures from before keep their place: behind the record of their key that is under way', async () => {
      await feed('a1', 'a-failed', 'b-failed')
      const gate = new Gate()
      const seen: string[] = []
      const fail = (record: RawRecord): undefined => {
        if (text(record).endsWith('failed')) throw new Error('before')
        return undefined
      }
      const finished = run(
        (records) =>
          records.pipe(
            attempt(fail),
            attempt(gate.call, { step: 'second' }),
            tap((item) => seen.push(item instanceof FailedRecord ? `${item.step} ${text(item.raw)}` : text(item))),
            dropFailed(),
            out,
          ),
        3,
      )
      await came(seen, 'attempt b-failed')
      gate.end('a1')
      await finished
      expect(seen).toEqual(['attempt b-failed', 'a1', 'attempt a-failed'])
    })

    for (const order of ['key', 'partition', 'none'] as const) {
      it(`failures from before come out by themselves where nothing is under way (${order})`, async () => {
        await feed('a1', 'a2')
        const seen: string[] = []
        const fail = (): never => {
          throw new Error('before')
        }
        await run(
          (records) =>
            records.pipe(
              attempt(fail),
              attempt(() => Promise.resolve(), { order }),
              dropFailed({ tap: (one) => seen.push(text(one.raw)) }),
              out,
            ),
          2,
        )
        expect(seen).toEqual(['a1', 'a2'])
      })
    }

    it('thousands of records wait in memory, no more calls than allowed are under way', async () => {
      const records = Array.from({ length: 5_000 }, (_, i) => String(i))
      await feed(...records)
      let [now, most] = [0, 0]
      const call = async (): Promise<void> => {
        most = Math.max(most, ++now)
        await new Promise((resolve) => setImmediate(resolve))
        now--
      }
      await run((stream) => stream.pipe(attempt(call, { concurrency: 64 }), dropFailed(), out), records.length)
      expect(await values(cluster, 'out')).toEqual(records.sort())
      expect(most).toBe(64)
    })
  })

  describe('in time', () => {
    let clock: VirtualClock

    beforeEach(async () => {
      await cluster.close()
      clock = new VirtualClock()
      cluster = embedded({ broker: createEmbeddedBroker({ clock }), clock, logger: silentLogger })
      await cluster.createTopics([{ topic: 'in' }, { topic: 'out' }])
    })

    const begin = (
      fn: (record: RawRecord, context: { readonly signal: AbortSignal }) => unknown,
      options: AttemptOptions,
      stallAfter = 60_000,
    ) => {
      const failed: FailedRecord[] = []
      const stop = new AbortController()
      const finished = lastValueFrom(
        cluster
          .source({ group: 'g', topics: ['in'], signal: stop.signal })
          .pipe(
            withTransaction(
              (records) =>
                records.pipe(attempt(fn as (record: RawRecord) => void, options), dropFailed({ tap: (one) => failed.push(one) }), out),
              { every: 10, stallAfter },
            ),
          ),
        { defaultValue: undefined },
      )
      const end = async (): Promise<void> => {
        stop.abort()
        await clock.advance(100)
        await finished
      }
      return { failed, finished, end }
    }

    it('tries again after pauses that double up to the longest, then fails with the number of tries', async () => {
      await feed('x')
      const at: number[] = []
      const { failed, end } = begin(
        () => {
          at.push(clock.now())
          throw new Error('down')
        },
        { retry: { times: 4, delay: '100ms', maxDelay: '300ms', jitter: 'none' } },
      )
      await clock.advance(3_000)
      expect(at.map((time) => time - (at[0] as number))).toEqual([0, 100, 300, 600, 900])
      expect(failed.map(({ attempts, error }) => [attempts, (error as Error).message])).toEqual([[5, 'down']])
      await end()
    })

    it('a try that works in the end is no failure, and records of other keys do not wait for it', async () => {
      await feed('a1', 'a2', 'b1')
      let down = true
      const { failed, end } = begin(
        (record) => {
          if (text(record) === 'a1' && down) throw new Error('down')
        },
        { retry: { times: 10, delay: '1s', maxDelay: '1s' } },
      )
      await clock.advance(500)
      down = false
      await clock.advance(5_000)
      expect(failed).toEqual([])
      expect(await written()).toEqual(['b1', 'a1', 'a2'])
      await end()
    })

    it('a call over its time limit is told so by its signal, and its record fails with ATTEMPT_TIMEOUT; what it still brings is not taken', async () => {
      await feed('slow', 'fast')
      const reasons: unknown[] = []
      let late: (value: string) => void = () => {}
      const { failed, end } = begin(
        (record, { signal }) => {
          if (text(record) === 'fast') return undefined
          signal.addEventListener('abort', () => reasons.push(signal.reason))
          return new Promise<string>((resolve) => (late = resolve))
        },
        { timeout: '2s' },
      )
      await clock.advance(1_000)
      expect(failed).toEqual([])
      await clock.advance(1_500)
      late('too late')
      await clock.advance(1_000)
      expect(failed.map(({ error }) => error)).toEqual(reasons)
      expect(reasons).toEqual([expect.objectContaining({ code: 'ATTEMPT_TIMEOUT', retryable: true })])
      expect(await written()).toEqual(['fast'])
      await end()
    })

    it('pauses and calls with a time limit longer than stallAfter are not taken for a stall', async () => {
      await feed('pause', 'call')
      let calls = 0
      const { failed, end } = begin(
        (record) => {
          if (text(record) === 'call') return new Promise(() => {})
          if (calls++ === 0) throw new Error('down')
          return undefined
        },
        { timeout: '5m', retry: { times: 1, delay: '10m', maxDelay: '10m', jitter: 'none' } },
        1_000,
      )
      await clock.advance(25 * 60_000)
      expect(failed.map(({ attempts, error }) => [attempts, (error as MillraceError).code])).toEqual([[2, 'ATTEMPT_TIMEOUT']])
      expect(await written()).toEqual(['pause'])
      await end()
    })

    it('a slice whose first record is slow is not stalled while others make progress behind it', async () => {
      await feed(...Array.from({ length: 40 }, (_, i) => String(i)))
      const { failed, end } = begin(
        (record) => new Promise<void>((resolve) => clock.after(text(record) === '0' ? 9_000 : 500, resolve)),
        { order: 'partition', concurrency: 2 },
        1_000,
      )
      await clock.advance(40_000)
      expect(failed).toEqual([])
      expect((await written()).length).toBe(40)
      await end()
    })

    it('a call that never ends and has no time limit does stall, and the step is named', async () => {
      await feed('x')
      const { finished } = begin(() => new Promise(() => {}), { step: 'ask the oracle' }, 1_000)
      const failure = expect(finished).rejects.toThrow(/Held by operator 1 of 3 \(ask the oracle\)/)
      await clock.advance(5_000)
      await failure
    })

    it('a stop that runs out of time aborts the signals of what is under way; nothing of it is committed', async () => {
      await feed('x')
      const signals: AbortSignal[] = []
      const stop = new AbortController()
      const finished = lastValueFrom(
        cluster.source({ group: 'g', topics: ['in'], signal: stop.signal }).pipe(
          withTransaction(
            (records) =>
              records.pipe(
                attempt((_, { signal }) => new Promise<void>(() => signals.push(signal))),
                dropFailed(),
                out,
              ),
            { every: 10, drainWithin: '1s' },
          ),
        ),
        { defaultValue: undefined },
      )
      await clock.advance(500)
      expect(signals.map(({ aborted }) => aborted)).toEqual([false])
      stop.abort()
      await clock.advance(2_000)
      await finished
      expect(signals.map(({ aborted, reason }) => [aborted, (reason as MillraceError).code])).toEqual([[true, 'CLOSED']])
      expect(await written()).toEqual([])
    })
  })

  it('another record that fails the slice aborts the signals too, and the record is tried anew with the next run', async () => {
    await feed('a', 'b')
    const signals: AbortSignal[] = []
    let faults = 1
    await runUntil(cluster, { group: 'g', topics: ['in'], records: 2, options: { retryDelay: 1 } }, (records) =>
      records.pipe(
        attempt(async (record, { signal }) => {
          if (text(record) === 'a' && faults > 0)
            await new Promise((resolve) => signals.push(signal) && signal.addEventListener('abort', resolve))
        }),
        dropFailed(),
        tap((record) => {
          if (text(record) === 'b' && faults-- > 0) throw new Error('for a moment')
        }),
        out,
      ),
    )
    expect(signals.map(({ aborted }) => aborted)).toEqual([true])
    expect(await values(cluster, 'out')).toEqual(['a', 'b'])
  })

  it('planning calls nothing', async () => {
    let calls = 0
    await feed('1')
    await run(
      (records) =>
        records.pipe(
          attempt(() => void calls++),
          dropFailed(),
          out,
        ),
      1,
    )
    expect(calls).toBe(1)
  })

  it('refuses wrong options by name', () => {
    expect(() => attempt(() => {}, { concurency: 3 } as AttemptOptions)).toThrow(/unknown option 'concurency'/)
    expect(() => attempt(() => {}, { concurrency: 0, retry: { times: -1 }, timeout: 'soon' as '1s', order: 'any' as 'key' })).toThrow(
      /concurrency:[^]*order:[^]*timeout:[^]*retry\.times:/,
    )
    expect(() => attempt('fn' as never)).toThrow(MillraceError)
    expect(() => attempt(() => {}, { breaker: {} as never })).toThrow(/breaker: expected circuitBreaker/)
  })
})
