import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { filter } from 'rxjs'
import { afterEach, describe, expect, it } from 'vitest'
import { openTelemetryMetrics } from '../../src/opentelemetry/index.js'
import { FAMILIES } from '../../src/serve/families.js'
import { toTopic, withTransaction } from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

describe('metrics of OpenTelemetry', () => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const meterProvider = new MeterProvider({ readers: [reader] })
  afterEach(() => exporter.reset())

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

  it('refuse what has no status, and wrong options, by name', () => {
    expect(() => openTelemetryMetrics({} as never)).toThrow(/openTelemetryMetrics.*\n.*expected a cluster/)
    expect(() => openTelemetryMetrics({ status: { snapshot: () => ({}) } as never }, { provider: 1 } as never)).toThrow(/provider/)
  })
})
