import { SpanKind, SpanStatusCode, context, trace } from '@opentelemetry/api'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { embedded, toTopic, withTransaction } from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { spanIn, spans, traceparent, type Spans } from '../support/spans.js'

describe('traces of what producers write', () => {
  let kit: TestKit
  let sdk: Spans

  beforeEach(async () => {
    sdk = spans()
    kit = await createTestKit({
      topics: { in: { partitions: 2 }, small: { config: { 'max.message.bytes': '200' } } },
      telemetry: sdk.telemetry,
    })
  })
  afterEach(async () => {
    await kit.stop()
    await sdk.stop()
  })

  const headers = async (topic: string, name = 'traceparent'): Promise<(string | undefined)[]> =>
    (await kit.read(topic)).map((record) => record.headers[name]?.toString())
  const idOf = (span: { spanContext(): { spanId: string } } | undefined): string | undefined => span?.spanContext().spanId

  it('a span of each record, child of what the program is at, which the record names; and a pipeline goes on from it', async () => {
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'small' })))),
    )
    const producer = kit.cluster.producer({ topic: 'in' })
    const request = sdk.tracer.startSpan('POST /orders')
    const at = await context.with(trace.setSpan(context.active(), request), () =>
      producer.send({ key: 'k', value: 'v', headers: { mine: 'x' } }),
    )
    request.end()
    await kit.advance('1s')
    const [sent] = sdk.named('send in')
    expect(sent?.kind).toBe(SpanKind.PRODUCER)
    expect(sent?.parentSpanContext?.spanId).toBe(idOf(request))
    expect(sent?.attributes).toEqual({
      'messaging.system': 'kafka',
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.destination.name': 'in',
      'messaging.destination.partition.id': String(at.partition),
      'messaging.kafka.offset': at.offset,
    })
    const [written] = await kit.read('in')
    expect(spanIn(written?.headers.traceparent)).toBe(idOf(sent))
    expect(written?.headers.mine?.toString()).toBe('x')
    const [processed] = sdk.named('process in')
    expect(processed?.parentSpanContext?.spanId).toBe(idOf(sent))
    expect(processed?.spanContext().traceId).toBe(request.spanContext().traceId)
  })

  it('of cluster.produce too, and of transactions, whose spans end when they do', async () => {
    await kit.cluster.produce({ topic: 'in', records: [{ key: 'a', value: '1' }] })
    const producer = kit.cluster.producer({ topic: 'in' })
    const request = sdk.tracer.startSpan('request')
    await producer.transaction(async (tx) => {
      await context.with(trace.setSpan(context.active(), request), () => tx.send({ key: 'b', value: '2' }))
      expect(sdk.named('send in')).toHaveLength(1)
    })
    await expect(
      producer.transaction((tx) => {
        void tx.send({ key: 'c', value: '3' })
        throw new RangeError('no')
      }),
    ).rejects.toThrow('no')
    const sent = sdk.named('send in')
    expect(sent).toHaveLength(3)
    expect(sent[1]?.parentSpanContext?.spanId).toBe(idOf(request))
    expect(sent.map(({ status }) => status.code)).toEqual([SpanStatusCode.UNSET, SpanStatusCode.UNSET, SpanStatusCode.ERROR])
    expect(sent[2]?.attributes['error.type']).toBe('RangeError')
    expect((await headers('in')).map(spanIn).sort()).toEqual([idOf(sent[0]), idOf(sent[1])].sort())
    expect(sdk.begun).toBe(sdk.all.length + 1)
  })

  it('a context that the program gave is left alone, and a record is not refused for its headers', async () => {
    const producer = kit.cluster.producer()
    await producer.send({ topic: 'in', value: 'v', headers: { traceparent: traceparent() } })
    expect([await headers('in'), sdk.begun]).toEqual([[traceparent()], 0])
    await producer.send({ topic: 'small', value: 'x'.repeat(110) })
    await producer.send({ topic: 'small', value: 'x' })
    await producer.transaction((tx) => tx.send({ topic: 'small', value: 'y'.repeat(110) }))
    expect((await headers('small')).map((one) => one !== undefined)).toEqual([false, true, false])
  })

  it('of what is refused end as failed, and what is encoded wrong has one that says so', async () => {
    const producer = kit.cluster.producer({ topic: 'small' })
    await expect(producer.send({ value: 'x'.repeat(500) })).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' })
    await expect(producer.send({ value: { a: 1 } as never })).rejects.toMatchObject({ code: 'ENCODE_FAILED' })
    expect(sdk.named('send small').map(({ attributes }) => attributes['error.type'])).toEqual(['RECORD_TOO_LARGE', 'ENCODE_FAILED'])
    expect(sdk.begun).toBe(2)
  })

  it('are not there without telemetry', async () => {
    const plain = embedded({ broker: kit.broker, clock: kit.clock })
    await plain.producer().send({ topic: 'in', value: 'v' })
    await plain.produce({ topic: 'in', records: [{ value: 'w' }] })
    await plain.close()
    expect([await headers('in'), sdk.begun]).toEqual([[undefined, undefined], 0])
  })
})
