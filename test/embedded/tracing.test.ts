import { SpanKind, SpanStatusCode, context, trace } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base'
import { filter, map, mergeMap, tap, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  attempt,
  deadLetter,
  delayUntil,
  dropFailed,
  joinStream,
  json,
  record,
  redrive,
  repartition,
  retryTopic,
  toTopic,
  window,
  tumbling,
  count,
  withTransaction,
  type Commit,
  type PipelineStatus,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { FAMILIES } from '../../src/serve/families.js'
import { traceIdPropagator } from '../../src/opentelemetry/index.js'
import { createTestKit, type FeedRecord, type TestKit } from '../../src/testing/index.js'
import { PARENT, TRACE, spanIn, spans, traceparent, type Spans } from '../support/spans.js'

describe('traces', () => {
  let kit: TestKit
  let sdk: Spans

  beforeEach(async () => {
    sdk = spans()
    kit = await createTestKit({
      topics: { in: {}, mid: {}, out: {}, dead: {} },
      start: 1_000_000,
      telemetry: sdk.telemetry,
    })
  })
  afterEach(async () => {
    await kit.stop()
    await sdk.stop()
  })

  const pipelineOf = (
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
    topic = 'in',
    group = 'g',
  ): Observable<Commit> =>
    kit.cluster.source({ group, topics: [topic] }).pipe(withTransaction(project, { every: '100ms', provision: true, ...options }))
  const feed = (headers: Record<string, string>, value = 'v'): Promise<number> => kit.feed('in', [{ key: 'k', value, headers }])
  const headerOf = async (topic: string, name = 'traceparent'): Promise<string | undefined> =>
    (await kit.read(topic, { from: 'earliest' })).at(-1)?.headers[name]?.toString()
  const idOf = (span: { spanContext(): { spanId: string } } | undefined): string | undefined => span?.spanContext().spanId

  it('are one over two pipelines: a span of each record, child of the one that wrote it and linked with it', async () => {
    kit.run(pipelineOf((records) => records.pipe(toTopic({ topic: 'mid' }))))
    kit.run(
      pipelineOf(
        (records) =>
          records.pipe(
            map((r) => r.with({ value: 'x' })),
            toTopic({ topic: 'out' }),
          ),
        {},
        'mid',
        'h',
      ),
    )
    await feed({ traceparent: traceparent(), tracestate: 'a=b', baggage: 'user=7', other: 'kept' })
    await kit.advance('1s')
    const [first] = sdk.named('process in')
    const [second] = sdk.named('process mid')
    expect(first?.kind).toBe(SpanKind.CONSUMER)
    expect(first?.attributes).toMatchObject({
      'messaging.system': 'kafka',
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.destination.name': 'in',
      'messaging.destination.partition.id': '0',
      'messaging.consumer.group.name': 'g',
      'messaging.kafka.offset': 0,
      'millrace.transaction.result': 'committed',
      'millrace.record.outcome': 'processed',
    })
    expect(first?.parentSpanContext?.spanId).toBe(PARENT)
    expect(first?.links.map(({ context: { spanId } }) => spanId)).toEqual([PARENT])
    expect(second?.parentSpanContext?.spanId).toBe(idOf(first))
    expect(sdk.all.map((span) => span.spanContext().traceId)).toEqual([TRACE, TRACE])
    const [written] = await kit.read('out')
    expect(spanIn(written?.headers.traceparent)).toBe(idOf(second))
    expect(written?.headers).toMatchObject({ tracestate: Buffer.from('a=b'), baggage: Buffer.from('user=7'), other: Buffer.from('kept') })
  })

  it('go on over a retry: each attempt is a span that says how it ended, the next one its child', async () => {
    let tries = 0
    const charge = (): void => {
      if (++tries === 1) throw new TypeError('customer-4711')
    }
    kit.run(
      pipelineOf((records) =>
        records.pipe(attempt(charge), retryTopic({ delays: ['10s'] }), deadLetter({ topic: 'dead' }), toTopic({ topic: 'out' })),
      ),
    )
    await feed({ traceparent: traceparent(), baggage: 'user=7' })
    await kit.advance('1s')
    const [failed] = sdk.named('process in')
    expect(failed?.attributes).toMatchObject({
      'millrace.record.outcome': 'failed',
      'error.type': 'TypeError',
      'millrace.step': 'attempt',
      'millrace.transaction.result': 'committed',
    })
    expect(failed?.status).toEqual({ code: SpanStatusCode.ERROR })
    expect(JSON.stringify(failed?.events)).not.toContain('4711')
    await kit.advance('20s')
    const [, again] = sdk.named('process in')
    expect(again?.parentSpanContext?.spanId).toBe(idOf(failed))
    expect(again?.attributes).toMatchObject({ 'millrace.delivery_attempt': 2, 'millrace.record.outcome': 'processed' })
    expect(again?.status.code).toBe(SpanStatusCode.UNSET)
    expect(spanIn(await headerOf('out'))).toBe(idOf(again))
    expect(await headerOf('out', 'baggage')).toBe('user=7')
    expect(new Set(sdk.all.map((span) => span.spanContext().traceId))).toEqual(new Set([TRACE]))
  })

  it('go on over a dead letter that is sent back', async () => {
    let broken = true
    const charge = (): void => {
      if (broken) throw new Error('down')
    }
    kit.run(pipelineOf((records) => records.pipe(attempt(charge), deadLetter({ topic: 'dead' }), toTopic({ topic: 'out' }))))
    await feed({ traceparent: traceparent() })
    await kit.advance('1s')
    const [failed] = sdk.named('process in')
    expect(spanIn(await headerOf('dead'))).toBe(idOf(failed))
    broken = false
    const redriven = redrive(kit.cluster, { from: 'dead' })
    await kit.advance('1m')
    await redriven
    await kit.advance('1s')
    const [sentBack] = sdk.named('process dead')
    const [, again] = sdk.named('process in')
    expect(sentBack?.parentSpanContext?.spanId).toBe(idOf(failed))
    expect(again?.parentSpanContext?.spanId).toBe(idOf(sentBack))
    expect(spanIn(await headerOf('out'))).toBe(idOf(again))
  })

  it('go on over a delay, in which the record is kept in a store', async () => {
    kit.run(
      pipelineOf((records) =>
        records.pipe(
          delayUntil((r) => r.timestamp + 60_000, { name: 'later' }),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await kit.feed('in', [{ key: 'k', value: 'v', timestamp: kit.clock.now(), headers: { traceparent: traceparent() } }])
    await kit.advance('1s')
    const [kept] = sdk.named('process in')
    expect(kept?.attributes['millrace.record.outcome']).toBe('processed')
    await kit.advance('2m')
    const [, passed] = sdk.named('process in')
    expect(passed?.parentSpanContext?.spanId).toBe(idOf(kept))
    expect(passed?.attributes['millrace.transaction.result']).toBe('committed')
    expect(spanIn(await headerOf('out'))).toBe(idOf(passed))
  })

  it('begin nothing for what is not sampled, and pass on that it is not', async () => {
    const seen: (string | undefined)[] = []
    const charge = (): void => void seen.push(trace.getSpan(context.active())?.spanContext().traceId)
    const renamed = map((r: RawRecord) => r.with({ headers: { mine: 'x' } }))
    kit.run(pipelineOf((records) => records.pipe(attempt(charge), dropFailed(), renamed, toTopic({ topic: 'out' }))))
    await feed({})
    await feed({ traceparent: traceparent(false) })
    await feed({ traceparent: 'garbage' })
    await kit.advance('1s')
    expect(sdk.begun).toBe(0)
    // What the function calls is part of the trace that is not sampled, and of none where there is none.
    expect(seen).toEqual([undefined, TRACE, undefined])
    const written = await kit.read('out')
    expect(written.map(({ headers }) => headers.traceparent?.toString())).toEqual([undefined, traceparent(false), 'garbage'])
    expect(written.every(({ headers }) => headers.mine?.toString() === 'x')).toBe(true)
  })

  it('take no headers apart for what is not sampled, where no user code runs for a record alone', async () => {
    kit.run(
      pipelineOf((records) =>
        records.pipe(
          map((r) => r),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await kit.feed(
      'in',
      Array.from({ length: 50 }, () => ({ key: 'k', value: 'v', headers: { traceparent: traceparent(false), baggage: 'a=b' } })),
    )
    await kit.advance('1s')
    expect(await kit.read('out')).toHaveLength(50)
    expect([sdk.begun, sdk.extracted]).toEqual([0, 0])
  })

  it('say aborted of every run that was undone, and committed only of what is in the log', async () => {
    const poison = tap((r: RawRecord) => {
      if (String(r.value) === 'bad') throw new RangeError('customer-4711')
    })
    kit.run(pipelineOf((records) => records.pipe(poison, toTopic({ topic: 'out' })), { onError: { deadLetter: 'dead' } }))
    await kit.feed(
      'in',
      ['a', 'bad', 'c'].map((value) => ({ key: 'k', value, headers: { traceparent: traceparent() } })),
    )
    await kit.advance('1m')
    expect((await kit.read('out')).map(({ value }) => value)).toEqual(['a', 'c'])
    // Each span that was begun has ended.
    expect(sdk.all).toHaveLength(sdk.begun)
    const of = (offset: number): readonly ReadableSpan[] =>
      sdk.all.filter(({ attributes }) => attributes['messaging.kafka.offset'] === offset)
    const results = (offset: number): unknown[] => of(offset).map(({ attributes }) => attributes['millrace.transaction.result'])
    for (const offset of [0, 1, 2]) expect(results(offset).filter((result) => result === 'committed')).toHaveLength(1)
    for (const span of sdk.all.filter(({ attributes }) => attributes['millrace.transaction.result'] === 'aborted')) {
      expect(span.status.code).toBe(SpanStatusCode.ERROR)
      expect(span.attributes).not.toHaveProperty('millrace.record.outcome')
    }
    expect(results(1).length).toBeGreaterThan(1)
    expect(of(1).at(0)?.attributes['error.type']).toBe('RangeError')
    expect(of(1).at(-1)?.attributes).toMatchObject({ 'millrace.record.outcome': 'failed', 'error.type': 'RangeError' })
    // The dead letter goes on in the trace of the record.
    expect(spanIn(await headerOf('dead'))).toBe(idOf(of(1).at(-1)))
    // And each output names the run that wrote it.
    const outputs = await kit.read('out', { from: 'earliest' })
    expect(outputs.map(({ headers }) => spanIn(headers.traceparent))).toEqual([idOf(of(0).at(-1)), idOf(of(2).at(-1))])
  })

  it('say aborted of a transaction that the log refused', async () => {
    kit.run(pipelineOf((records) => records.pipe(toTopic({ topic: 'out' }))))
    await kit.advance('1s')
    kit.broker.faults.inject({ at: 'end', reaction: 'abort' })
    await feed({ traceparent: traceparent() })
    await kit.advance('1m')
    const results = sdk.named('process in').map(({ attributes }) => attributes['millrace.transaction.result'])
    expect(results.at(-1)).toBe('committed')
    expect(results.slice(0, -1).every((result) => result === 'aborted')).toBe(true)
    expect(results.length).toBeGreaterThan(1)
    expect(sdk.all).toHaveLength(sdk.begun)
  })

  it('are active during user code, whichever record let it begin: spans of user code are children', async () => {
    const gates = new Map<string, () => void>()
    const work = async (r: RawRecord): Promise<void> => {
      const name = String(r.value)
      const span = sdk.tracer.startSpan(`query ${name}`)
      await new Promise<void>((resolve) => gates.set(name, resolve))
      // As a client of something would, behind an await.
      sdk.tracer.startSpan(`later ${name}`).end()
      span.end()
    }
    const behind: string[] = []
    const look = tap(
      (r: RawRecord) => void behind.push(`${String(r.value)} ${trace.getSpan(context.active())?.spanContext().traceId ?? 'none'}`),
    )
    kit.run(pipelineOf((records) => records.pipe(attempt(work, { concurrency: 2 }), dropFailed(), look, toTopic({ topic: 'out' }))))
    const ids = ['1', '2', '3'].map((n) => TRACE.slice(0, -1) + n)
    await kit.feed('in', [
      { key: 'a', value: 'a', headers: { traceparent: traceparent(true, ids[0]) } },
      { key: 'b', value: 'b', headers: { traceparent: traceparent(true, ids[1]) } },
      { key: 'c', value: 'c', headers: {} },
      { key: 'd', value: 'd', headers: { traceparent: traceparent(true, ids[2]) } },
    ])
    // c begins when b ends, and d when c does.
    for (const name of ['b', 'c', 'd', 'a']) {
      await kit.advance('1s')
      gates.get(name)?.()
    }
    await kit.advance('1s')
    const process = (traceId: string | undefined): ReadableSpan | undefined =>
      sdk.named('process in').find((span) => span.spanContext().traceId === traceId)
    for (const [name, traceId] of [
      ['a', ids[0]],
      ['b', ids[1]],
      ['d', ids[2]],
    ] as const)
      for (const kind of ['query', 'later']) expect(sdk.named(`${kind} ${name}`)[0]?.parentSpanContext?.spanId).toBe(idOf(process(traceId)))
    for (const kind of ['query', 'later']) expect(sdk.named(`${kind} c`)[0]?.parentSpanContext).toBeUndefined()
    expect(behind.sort()).toEqual([`a ${ids[0]}`, `b ${ids[1]}`, 'c none', `d ${ids[2]}`])
  })

  it('follow outputs through asynchronous and flattening steps, new records and repartitions', async () => {
    kit.run(
      pipelineOf((records) =>
        records.pipe(
          mergeMap(async (r) => {
            await Promise.resolve()
            return r
          }),
          mergeMap((r) => [r, r.with({ value: Buffer.from('copy') })]),
          attempt((r) => record({ key: r.key, value: r.value, timestamp: r.timestamp })),
          dropFailed(),
          repartition({ key: () => 'other' }),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await feed({ traceparent: traceparent() })
    await kit.advance('2s')
    const outputs = await kit.read('out')
    expect(outputs).toHaveLength(2)
    const inner = sdk.named('process g-repartition-repartition')
    expect(inner.map((span) => span.parentSpanContext?.spanId)).toEqual([
      idOf(sdk.named('process in')[0]),
      idOf(sdk.named('process in')[0]),
    ])
    expect(outputs.map(({ headers }) => spanIn(headers.traceparent))).toEqual(inner.map(idOf))
  })

  it('leave a context that the program wrote itself, and take the place of one that it copied', async () => {
    const own = `00-${TRACE}-00000000000000aa-01`
    kit.run(
      pipelineOf((records) =>
        records.pipe(
          toTopic({ topic: 'out', headers: (r) => ({ ...r.headers, ...(String(r.value) === 'own' ? { traceparent: own } : {}) }) }),
        ),
      ),
    )
    await feed({ traceparent: traceparent(), tracestate: 'a=b' }, 'copied')
    await feed({ traceparent: traceparent(), tracestate: 'a=b' }, 'own')
    await kit.advance('1s')
    const [copied, written] = await kit.read('out')
    expect(spanIn(copied?.headers.traceparent)).toBe(idOf(sdk.named('process in')[0]))
    expect(written?.headers.traceparent?.toString()).toBe(own)
  })

  it('never make a record too large that fits', async () => {
    await kit.cluster.createTopics([{ topic: 'small', config: { 'max.message.bytes': '400' } }])
    kit.run(pipelineOf((records) => records.pipe(toTopic({ topic: 'small' }))))
    await feed({ traceparent: traceparent() }, 'x'.repeat(100))
    // Its bytes fit; 55 more for a parent would not, if there were none before.
    await kit.feed('in', [{ key: 'k', value: 'y'.repeat(210), headers: { traceparent: traceparent() } }])
    await kit.advance('1s')
    expect(await kit.read('small')).toHaveLength(2)
  })

  it('of windows take links: a span with all records of the window that were followed', async () => {
    kit.run(pipelineOf((records) => records.pipe(window(tumbling('1m'), { aggregate: count() }), toTopic({ topic: 'out', value: json() }))))
    const at = (timestamp: number, headers: Record<string, string>): Promise<number> =>
      kit.feed('in', [{ key: 'k', value: 'v', timestamp, headers }])
    const ids = ['1', '2', '3'].map((n) => TRACE.slice(0, -1) + n)
    await at(0, { traceparent: traceparent(true, ids[0]) })
    await kit.advance('1s')
    await at(10, {})
    await at(20, { traceparent: traceparent(true, ids[1]) })
    await at(60_000, { traceparent: traceparent(true, ids[2]) })
    await kit.advance('1s')
    const [made] = sdk.named("window 'window'")
    const processed = sdk.named('process in').slice(0, 2)
    expect(made?.links.map(({ context: { spanId } }) => spanId)).toEqual(processed.map(idOf))
    expect(made?.attributes['millrace.transaction.result']).toBe('committed')
    expect(spanIn(await headerOf('out'))).toBe(idOf(made))
  })

  it('of aggregates and joins of streams take links: with the records that went into the result', async () => {
    kit.run(pipelineOf((records) => records.pipe(aggregate(count()), toTopic({ topic: 'mid', value: json() }))))
    const side = (records: RecordStream, name: string) => records.pipe(filter(({ value }) => String(value).startsWith(name)))
    kit.run(
      pipelineOf(
        (records) =>
          side(records, 'left').pipe(
            joinStream(side(records, 'right'), { within: '1m', join: (left, right) => `${String(left.value)} ${String(right.value)}` }),
            toTopic({ topic: 'out', value: json() }),
          ),
        {},
        'in',
        'joining',
      ),
    )
    const ids = ['1', '2', '3'].map((n) => TRACE.slice(0, -1) + n)
    const linked = (span: ReadableSpan | undefined) => span?.links.map(({ context: { spanId } }) => spanId)
    const [first, ...last] = ['left-1', 'other', 'right-1'].map((value, i) => ({
      key: 'k',
      value,
      headers: { traceparent: traceparent(true, ids[i]) },
    }))
    for (const some of [[first as FeedRecord], last]) {
      await kit.feed('in', some)
      await kit.advance('1s')
    }
    const of = (group: string) => sdk.named('process in').filter(({ attributes }) => attributes['messaging.consumer.group.name'] === group)
    const made = sdk.named("aggregate 'aggregate'")
    const [one, ...others] = of('g').map(idOf)
    // An update is made of what came since the one before.
    expect(made.map(linked)).toEqual([[one], others])
    expect(made.map(({ attributes }) => attributes['millrace.transaction.result'])).toEqual(['committed', 'committed'])
    expect(spanIn(await headerOf('mid'))).toBe(idOf(made[1]))
    const [pair] = sdk.all.filter(({ name }) => name.startsWith('joinStream'))
    const [left, , right] = of('joining')
    expect(linked(pair)).toEqual([idOf(left), idOf(right)])
    expect(pair?.attributes['messaging.consumer.group.name']).toBe('joining')
    expect(spanIn(await headerOf('out'))).toBe(idOf(pair))
  })

  it('say unknown of a transaction whose commit was not answered, where nothing tells how it ended', async () => {
    kit.run(pipelineOf((records) => records.pipe(toTopic({ topic: 'out' }))))
    await kit.advance('1s')
    // The answer is lost, and by the time that is clear this is no member any more, whose offsets would tell.
    kit.broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect: true, delayMs: 8_000 })
    kit.broker.faults.inject({ at: 'heartbeat', reaction: 'lost' })
    await feed({ traceparent: traceparent() })
    await kit.advance('5m')
    const results = sdk.named('process in').map(({ attributes }) => attributes['millrace.transaction.result'])
    expect(results[0]).toBe('unknown')
    expect(sdk.named('process in')[0]?.attributes).toMatchObject({ 'error.type': 'transaction_unknown' })
    expect(sdk.named('process in')[0]?.attributes).not.toHaveProperty('millrace.record.outcome')
    expect(sdk.all).toHaveLength(sdk.begun)
    // It had taken effect: the record is there, once.
    expect(await kit.read('out')).toHaveLength(1)
    const status = kit.cluster.status.snapshot().pipelines[0] as PipelineStatus
    expect(status).toMatchObject({ totals: { records: 0 }, commits: { aborted: 0, unknown: 1 } })
    expect(FAMILIES.find(({ name }) => name === 'millrace_transactions_total')?.samples(status)).toContainEqual({
      value: 1,
      labels: { result: 'unknown' },
    })
  })

  it('go by an id in a header of one name, where told so', async () => {
    await kit.stop()
    await sdk.stop()
    sdk = spans({ propagator: traceIdPropagator({ header: 'X-Request-ID' }) })
    kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} }, telemetry: sdk.telemetry })
    kit.run(pipelineOf((records) => records.pipe(toTopic({ topic: 'out' }))))
    await feed({ 'X-Request-ID': '0AF76519-16CD-43DD-8448-EB211C80319C' })
    await feed({ 'X-Request-ID': 'order 17' })
    await feed({ 'X-Request-ID': 'order 17' })
    await feed({ traceparent: traceparent() })
    await kit.advance('1s')
    const traceIds = sdk.named('process in').map((span) => span.spanContext().traceId)
    expect(traceIds).toHaveLength(3)
    expect(traceIds[0]).toBe(TRACE)
    expect(traceIds[1]).toBe(traceIds[2])
    expect((await kit.read('out')).map(({ headers }) => headers['X-Request-ID']?.toString())).toEqual([
      '0AF76519-16CD-43DD-8448-EB211C80319C',
      'order 17',
      'order 17',
      undefined,
    ])
  })

  it('begin here where told so, and then go on in the outputs', async () => {
    await kit.stop()
    await sdk.stop()
    sdk = spans({ startTraces: 1 })
    kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} }, telemetry: sdk.telemetry })
    kit.run(pipelineOf((records) => records.pipe(toTopic({ topic: 'out' }))))
    await feed({})
    await kit.advance('1s')
    const [span] = sdk.named('process in')
    expect(span?.parentSpanContext).toBeUndefined()
    expect(span?.links).toEqual([])
    expect(spanIn(await headerOf('out'))).toBe(idOf(span))
  })
})
