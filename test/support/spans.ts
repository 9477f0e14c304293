import { context, trace, type Context, type Tracer } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import { openTelemetry, type OpenTelemetryOptions, type Telemetry } from '../../src/opentelemetry/index.js'

/** The SDK, with spans kept in memory, and what counts those that were begun. */
export interface Spans {
  readonly telemetry: Telemetry
  readonly tracer: Tracer
  /** Those that have ended, by name, in the order of their ends. */
  named(name: string): readonly ReadableSpan[]
  readonly all: readonly ReadableSpan[]
  readonly begun: number
  /** How often headers were taken apart. */
  readonly extracted: number
  stop(): Promise<void>
}

export const w3c = new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] })

export function spans(options: OpenTelemetryOptions = {}): Spans {
  const exporter = new InMemorySpanExporter()
  let [begun, extracted] = [0, 0]
  const counting: SpanProcessor = {
    onStart: () => void begun++,
    onEnd: () => {},
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  }
  const provider = new BasicTracerProvider({ spanProcessors: [counting, new SimpleSpanProcessor(exporter)] })
  const manager = new AsyncLocalStorageContextManager().enable()
  context.setGlobalContextManager(manager)
  const { propagator = w3c } = options
  const watched = {
    fields: () => propagator.fields(),
    inject: propagator.inject.bind(propagator),
    extract: (...given: Parameters<typeof propagator.extract>): Context => {
      extracted++
      return propagator.extract(...given)
    },
  }
  return {
    telemetry: openTelemetry({ tracerProvider: provider, ...options, propagator: watched }),
    tracer: provider.getTracer('test'),
    named: (name) => exporter.getFinishedSpans().filter((span) => span.name === name),
    get all() {
      return exporter.getFinishedSpans()
    },
    get begun() {
      return begun
    },
    get extracted() {
      return extracted
    },
    async stop() {
      await provider.shutdown()
      manager.disable()
      context.disable()
      trace.disable()
    },
  }
}

export const TRACE = '0af7651916cd43dd8448eb211c80319c'
export const PARENT = 'b7ad6b7169203331'
/** The header of a record that a program wrote whose span was sampled, or not. */
export const traceparent = (sampled = true, traceId = TRACE): string => `00-${traceId}-${PARENT}-${sampled ? '01' : '00'}`

/** The span that a header names. */
export const spanIn = (header: unknown): string | undefined => /^00-[0-9a-f]{32}-([0-9a-f]{16})-/.exec(String(header))?.[1]
