import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { filter } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openTelemetry, openTelemetryMetrics } from '../../src/opentelemetry/index.js'
import { FAMILIES } from '../../src/serve/families.js'
import { attempt, dropFailed, embedded, toTopic, withTransaction } from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

describe('metrics of OpenTelemetry', () => {
  let exporter: InMemoryMetricExporter
  let meterProvider: MeterProvider
  beforeEach(() => {
    exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    meterProvider = new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })] })
  })
  afterEach(() => meterProvider.shutdown())

  /** By name: attributes and value of each point. */
  const collected = async (): Promise<Record<string, [object, unknown][]>> => {
    exporter.reset()
    await meterProvider.forceFlush()
    const metrics = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
    return Object.fromEntries(
      metrics.map(({ descriptor, dataPoints }) => [descriptor.name, dataPoints.map(({ attributes, value }) => [attributes, value])]),
    )
  }

  it('say what a pipeline has committed, by the conventions and by the names of /metrics, until they are stopped', async () => {
    const kit = await createTestKit({ topics: { in: { partitions: 2 }, out: {} } })
    let asked = 0
    const snapshot = () => (asked++, kit.cluster.status.snapshot())
    const handle = openTelemetryMetrics({ status: { snapshot } as typeof kit.cluster.status }, { meterProvider })
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction((records) =>
          records.pipe(
            filter(({ value }) => String(value) !== 'no'),
            toTopic({ topic: 'out' }),
          ),
        ),
      ),
    )
    await kit.feed(
      'in',
      ['a', 'no', 'b'].map((value) => ({ value })),
    )
    await kit.advance('1s')
    const seen = await collected()
    const about = { 'messaging.system': 'kafka', 'messaging.consumer.group.name': 'g' }
    expect(seen['messaging.client.consumed.messages']).toEqual([[{ ...about, 'messaging.operation.name': 'poll' }, 3]])
    expect(seen['messaging.client.sent.messages']).toEqual([
      [{ ...about, 'messaging.operation.name': 'send', 'messaging.destination.name': 'out' }, 2],
    ])
    expect(seen['millrace.records']).toContainEqual([{ group: 'g', outcome: 'filtered' }, 1])
    expect(seen['millrace.records']).toContainEqual([{ group: 'g', outcome: 'processed' }, 2])
    expect(seen['millrace.lag_records']).toEqual([[{ group: 'g' }, 0]])
    const [committed] =
      seen['millrace.transactions']?.find(([labels]) => 'result' in labels && labels.result === 'committed')?.slice(1) ?? []
    expect(committed).toBeGreaterThan(0)
    expect(seen['millrace.commit_duration.count']).toEqual([[{ group: 'g' }, committed]])
    handle.stop()
    await collected()
    expect(asked).toBe(1)
    await kit.stop()
  })

  it('have an instrument for each metric of /metrics, of which no two share a name', () => {
    const names: string[] = []
    const make = (name: string) => (names.push(name), {})
    const meter = { createObservableGauge: make, createObservableCounter: make, addBatchObservableCallback: () => {} }
    openTelemetryMetrics({ status: { snapshot: () => ({}) } as never }, { meterProvider: { getMeter: () => meter as never } })
    expect(new Set(names).size).toBe(names.length)
    const histograms = FAMILIES.filter(({ type }) => type === 'histogram').length
    expect(names).toHaveLength(FAMILIES.length + histograms + 2)
  })

  describe('histograms of the conventions', () => {
    const PROCESS = 'messaging.process.duration'
    const OPERATION = 'messaging.client.operation.duration'
    const SYSTEM = { 'messaging.system': 'kafka' }
    const GROUP = { 'messaging.consumer.group.name': 'g' }
    const IN = { 'messaging.destination.name': 'in' }
    interface Point {
      readonly count: number
      readonly sum: number
      readonly buckets: { readonly boundaries: readonly number[] }
    }
    /** Of an operation: attributes beside its name, and how often it took how long. */
    const pointsOf = async (name: string, operation: string): Promise<(Point & { attributes: object })[]> =>
      ((await collected())[name] ?? []).flatMap(([all, value]) => {
        const { 'messaging.operation.name': of, ...attributes } = all as Record<string, unknown>
        return of === operation ? [{ ...(value as Point), attributes }] : []
      })

    it('say how long records are worked on, fetched, written and committed, each transaction and request once', async () => {
      const kit = await createTestKit({ topics: { in: {}, out: {} }, telemetry: openTelemetry({ meterProvider }) })
      const slow = (): Promise<void> => new Promise((resolve) => kit.clock.after(2_000, resolve))
      const delay = { delayMs: 1_000, times: Number.POSITIVE_INFINITY }
      kit.broker.faults.inject({ at: 'end', ...delay })
      kit.broker.faults.inject({ at: 'fetch', of: 'in', delayMs: 3_000 })
      kit.broker.faults.inject({ at: 'produce', of: 'out', ...delay })
      kit.run(
        kit.cluster
          .source({ group: 'g', topics: ['in'] })
          .pipe(withTransaction((records) => records.pipe(attempt(slow, { concurrency: 10 }), dropFailed(), toTopic({ topic: 'out' })))),
      )
      await kit.feed(
        'in',
        Array.from({ length: 10 }, (_, i) => ({ value: String(i) })),
      )
      await kit.advance('20s')
      const [processed, ...others] = await pointsOf(PROCESS, 'process')
      // Ten records, one transaction, in which they are called for side by side. The wait for more of them is left out.
      expect([processed?.count, others]).toEqual([1, []])
      expect(processed?.sum).toBeCloseTo(1.9)
      expect(processed?.attributes).toEqual({
        ...SYSTEM,
        ...GROUP,
        ...IN,
        'messaging.operation.type': 'process',
        'messaging.destination.partition.id': '0',
      })
      expect(processed?.buckets.boundaries).toEqual([0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10])
      const [polled] = await pointsOf(OPERATION, 'poll')
      expect(polled).toMatchObject({ count: 1, sum: 3, attributes: { ...SYSTEM, ...GROUP, ...IN, 'messaging.operation.type': 'receive' } })
      expect(await pointsOf(OPERATION, 'send')).toMatchObject([
        {
          count: 1,
          sum: 1,
          attributes: {
            ...SYSTEM,
            'messaging.operation.type': 'send',
            'messaging.destination.name': 'out',
            'messaging.destination.partition.id': '0',
          },
        },
      ])
      const [committed] = await pointsOf(OPERATION, 'commit')
      // That of where the task begins, and that of the records.
      expect(committed).toMatchObject({ count: 2, attributes: { ...SYSTEM, ...GROUP, ...IN, 'messaging.operation.type': 'settle' } })
      expect(committed?.sum).toBe(3)
      await kit.stop()
    })

    it('say by what class of error what failed did, and of an unknown end too', async () => {
      const kit = await createTestKit({ topics: { in: {}, out: {} }, telemetry: openTelemetry({ meterProvider }) })
      let broken = true
      kit.broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect: true })
      kit.run(
        kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
          withTransaction(
            (records) =>
              records.pipe(
                filter(() => {
                  if (broken) throw new RangeError('customer-4711')
                  return true
                }),
                toTopic({ topic: 'out' }),
              ),
            { retries: 1, retryDelay: '1s' },
          ),
        ),
      )
      await kit.feed('in', [{ value: 'a' }])
      await kit.advance('500ms')
      broken = false
      await kit.advance('5m')
      const errors = async (name: string, operation: string): Promise<unknown[]> =>
        (await pointsOf(name, operation)).map(({ attributes }) => (attributes as { 'error.type'?: string })['error.type'])
      expect(await errors(PROCESS, 'process')).toEqual(expect.arrayContaining(['RangeError', undefined]))
      expect(await errors(OPERATION, 'commit')).toContain('COMMIT_INDETERMINATE')
      expect(JSON.stringify(await collected())).not.toContain('4711')
      await kit.stop()
    })

    it('are told of by producers, and are not there without the option', async () => {
      const kit = await createTestKit({ topics: { in: {} }, telemetry: openTelemetry({ meterProvider }) })
      const producer = kit.cluster.producer({ topic: 'in' })
      await Promise.all(['a', 'b', 'c'].map((value) => producer.send({ value })))
      const plain = embedded({ broker: kit.broker, clock: kit.clock })
      await plain.produce({ topic: 'in', records: [{ value: 'd' }] })
      await plain.close()
      const sent = await pointsOf(OPERATION, 'send')
      // One batch.
      expect(sent.map(({ count }) => count)).toEqual([1])
      expect(sent.map(({ attributes }) => attributes)).toContainEqual({
        ...SYSTEM,
        ...IN,
        'messaging.operation.type': 'send',
        'messaging.destination.partition.id': '0',
      })
      await kit.stop()
    })
  })

  it('refuse what has no status, and wrong options, by name', () => {
    expect(() => openTelemetryMetrics({} as never)).toThrow(/openTelemetryMetrics.*\n.*expected a cluster/)
    expect(() => openTelemetryMetrics({ status: { snapshot: () => ({}) } as never }, { provider: 1 } as never)).toThrow(/provider/)
  })
})
