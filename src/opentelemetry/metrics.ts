import { metrics, type Attributes, type BatchObservableResult, type MeterProvider, type Observable } from '@opentelemetry/api'
import { z } from 'zod'
import type { ClusterStatus } from '../cluster/cluster.js'
import { objectWith, parseOptions } from '../runtime/options.js'
import { FAMILIES, told, type Family, type Told } from '../serve/families.js'
import { sourceSchema, type StatusSource } from '../serve/options.js'
import { KAFKA } from './attributes.js'

export interface OpenTelemetryMetricsOptions {
  /** Default: the global one, as the SDK sets it up. */
  readonly meterProvider?: MeterProvider
}

export interface MetricsHandle {
  /** Nothing is told any more. */
  stop(): void
}

const schema = z.strictObject({
  meterProvider: objectWith<MeterProvider>(['getMeter'], 'a MeterProvider').optional(),
})

/** Exporters to Prometheus put the unit, and `_total`, back behind a name: there it is the one that /metrics has. */
const UNITS: readonly (readonly [suffix: string, unit: string])[] = [
  ['_timestamp_seconds', 's'],
  ['_seconds', 's'],
  ['_bytes', 'By'],
]

/**
 * Tells OpenTelemetry what the pipelines of a cluster do: all that `/metrics` has, as `millrace.*`, and by the conventions for messaging
 * `messaging.client.consumed.messages` and `messaging.client.sent.messages`, both as far as they are committed.
 *
 * Instruments are observed: the status is read once a collection, nothing is done per record. A histogram is told as its count and its sum,
 * `millrace.commit_duration.count` and `.sum`, since OpenTelemetry has no histogram that is observed. Offsets, state: untouched.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const metrics = openTelemetryMetrics(cluster)
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics
 */
export function openTelemetryMetrics(cluster: StatusSource, options: OpenTelemetryMetricsOptions = {}): MetricsHandle {
  const [source] = parseOptions(sourceSchema, [cluster], 'openTelemetryMetrics')
  const { meterProvider = metrics } = parseOptions(schema, options, 'openTelemetryMetrics')
  const meter = meterProvider.getMeter('millrace')
  const tellers: ((result: BatchObservableResult, of: Told) => void)[] = []
  const instruments: Observable[] = []
  const instrument = (type: Family['type'], name: string, description: string, unit: string): Observable => {
    const made =
      type === 'gauge'
        ? meter.createObservableGauge(name, { description, unit })
        : meter.createObservableCounter(name, { description, unit })
    instruments.push(made)
    return made
  }

  for (const family of FAMILIES) {
    const { name, type, help } = family
    const [suffix, unit] = UNITS.find(([one]) => name.endsWith(one)) ?? [type === 'counter' ? '_total' : '', '1']
    const short = `millrace.${name.slice('millrace_'.length, name.length - (name.endsWith(suffix) ? suffix.length : 0))}`
    if (type === 'histogram') {
      const parts = { _count: instrument('counter', `${short}.count`, help, '1'), _sum: instrument('counter', `${short}.sum`, help, unit) }
      tellers.push((result, of) => {
        for (const { value, labels, metricName = '' } of of.samples(family))
          for (const [end, part] of Object.entries(parts)) if (metricName === `${name}${end}`) result.observe(part, value, labels)
      })
    } else {
      const made = instrument(type, short, help, unit)
      tellers.push((result, of) => {
        for (const { value, labels } of of.samples(family)) result.observe(made, value, labels)
      })
    }
  }
  const consumed = instrument('counter', 'messaging.client.consumed.messages', 'Records read, as far as committed', '{message}')
  const sent = instrument('counter', 'messaging.client.sent.messages', 'Records written, as far as committed', '{message}')
  tellers.push((result, { status }) => {
    const of = (operation: string): Attributes => ({
      ...KAFKA,
      'messaging.operation.name': operation,
      'messaging.consumer.group.name': status.group,
    })
    result.observe(consumed, status.totals.records, of('poll'))
    for (const [topic, count] of Object.entries(status.written))
      result.observe(sent, count, { ...of('send'), 'messaging.destination.name': topic })
  })

  const observe = (result: BatchObservableResult): void => {
    const { pipelines }: ClusterStatus = source.status.snapshot()
    for (const one of told(pipelines)) for (const tell of tellers) tell(result, one)
  }
  meter.addBatchObservableCallback(observe, instruments)
  return { stop: () => meter.removeBatchObservableCallback(observe, instruments) }
}
