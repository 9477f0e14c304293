import { propagation, trace, type MeterProvider, type TextMapPropagator, type TracerProvider } from '@opentelemetry/api'
import { z } from 'zod'
import { objectWith, parseOptions } from '../runtime/options.js'
import type { Telemetry } from '../runtime/telemetry.js'
import { DurationHistograms } from './durations.js'
import { SpanFollower } from './tracer.js'

export { openTelemetryMetrics, type MetricsHandle, type OpenTelemetryMetricsOptions } from './metrics.js'
export { traceIdPropagator, type TraceIdOptions } from './trace-id.js'
export type { Telemetry } from '../runtime/telemetry.js'

export interface OpenTelemetryOptions {
  /** Default: the global one, as the SDK sets it up. */
  readonly tracerProvider?: TracerProvider
  /** For the histograms. Default: the global one, as the SDK sets it up. */
  readonly meterProvider?: MeterProvider
  /**
   * Which headers are read and written, and how. Default: the global one, which in the SDK is W3C Trace Context (`traceparent`,
   * `tracestate`) and `baggage`. For an id in `X-Trace-ID`: `traceIdPropagator()`.
   */
  readonly propagator?: TextMapPropagator
  /**
   * Of the records that no header of theirs makes part of a trace, so many begin one, from 0 to 1; the SDK's sampler is asked about these.
   * Default 0: traces begin where records are first written. Set it where those programs know nothing of traces.
   */
  readonly startTraces?: number
  /** Whether spans may hold texts and stacks of errors, which may quote records. Default false: only the class of the error. */
  readonly content?: boolean
}

const schema = z.strictObject({
  tracerProvider: objectWith<TracerProvider>(['getTracer'], 'a TracerProvider').optional(),
  meterProvider: objectWith<MeterProvider>(['getMeter'], 'a MeterProvider').optional(),
  propagator: objectWith<TextMapPropagator>(['extract', 'inject', 'fields'], 'a TextMapPropagator').optional(),
  startTraces: z.number().min(0).max(1).default(0),
  content: z.boolean().default(false),
})

const NAME = 'millrace'

/**
 * Follows records through pipelines by OpenTelemetry: `kafka({ brokers, telemetry: openTelemetry() })`.
 *
 * A record whose headers name a trace that is sampled gets a span `process <topic>`, child of the span that wrote it and linked with it,
 * by the semantic conventions for messaging (v1.44). It is active during user code, and its context is written into whatever is made of
 * the record. It ends when it is known how the transaction ended, at the time the record was last worked on: `millrace.transaction.result`
 * is 'committed', 'aborted' (each run that was undone has a span of its own) or 'unknown', `millrace.record.outcome` what the record came to.
 *
 * A record that `cluster.producer` or `cluster.produce` writes gets a span `send <topic>`, child of what the program is at, and its headers
 * name it; where the program gave it headers of a trace, these stay, and there is no span.
 *
 * The histograms `messaging.process.duration` (of the records of one transaction, waiting for records left out) and
 * `messaging.client.operation.duration` (of requests: 'poll', 'send' and 'commit') are of the meter provider.
 *
 * Order, offsets, state: untouched. Memory: the spans of the open transaction, and those of records that went into windows (128 a key,
 * 10,000 keys), for links. Without this option nothing is done for it per record.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const cluster = kafka({ brokers: ['localhost:9092'], telemetry: openTelemetry() })
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/kafka
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): Telemetry {
  const {
    tracerProvider = trace,
    meterProvider,
    propagator = propagation,
    startTraces,
    content,
  } = parseOptions(schema, options, 'openTelemetry')
  return {
    tracer: new SpanFollower({ spans: tracerProvider.getTracer(NAME), propagator, startTraces, content }),
    durations: new DurationHistograms(meterProvider),
  }
}
