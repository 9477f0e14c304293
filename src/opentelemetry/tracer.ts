import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  context,
  trace,
  type Context,
  type Span,
  type SpanContext,
  type TextMapPropagator,
  type Tracer as SpanTracer,
} from '@opentelemetry/api'
import type { Followed, RecordCarrier, SentTrace, Trace, TraceHeaders, TraceOutcome, TraceResult, Tracer } from '../record/tracing.js'
import { systemClock } from '../record/clock.js'
import { errorMessage } from '../record/error.js'
import { errorType, KAFKA } from './attributes.js'

export interface TracerSettings {
  readonly spans: SpanTracer
  readonly propagator: Pick<TextMapPropagator, 'extract' | 'inject' | 'fields'>
  /** Of the records that no trace names, so many begin one: 0 to 1. */
  readonly startTraces: number
  /** Whether spans may hold what may come out of records: texts and stacks of errors. */
  readonly content: boolean
}

const getter = {
  keys: (carrier: RecordCarrier): string[] => carrier.keys(),
  get: (carrier: RecordCarrier, name: string): string | undefined => carrier.get(name),
}
const setter = { set: (headers: Record<string, string>, name: string, value: string): void => void (headers[name] = value) }

const TRACEPARENT = 'traceparent'
const FLAGS_AT = 53
/** Flags without that of being sampled, which is the lowest. */
const UNSAMPLED: ReadonlySet<string> = new Set(Array.from({ length: 128 }, (_, half) => (half * 2).toString(16).padStart(2, '0')))

/** Follows records by spans: `process <topic>` of a record in its transaction. */
export class SpanFollower implements Tracer {
  private known: readonly string[] = []

  constructor(private readonly settings: TracerSettings) {}

  /** Asked for each record. Empty until the program has set a propagator up. */
  get fields(): readonly string[] {
    if (this.known.length === 0) this.known = this.settings.propagator.fields()
    return this.known
  }

  start(carrier: RecordCarrier, of: () => Followed): Trace | undefined {
    const named = this.named(carrier)
    if (named === 'unsampled') return undefined
    const parent = named === 'nobody' ? ROOT_CONTEXT : this.extract(carrier)
    const remote = trace.getSpanContext(parent)
    if (remote === undefined ? !this.begins() : !isSampled(remote)) return undefined
    const { group, topic, partition, offset, attempt } = of()
    const span = this.settings.spans.startSpan(
      `process ${topic}`,
      {
        kind: SpanKind.CONSUMER,
        attributes: {
          ...KAFKA,
          'messaging.operation.name': 'process',
          'messaging.operation.type': 'process',
          'messaging.destination.name': topic,
          'messaging.destination.partition.id': String(partition),
          'messaging.consumer.group.name': group,
          'messaging.kafka.offset': offset,
          ...(attempt > 1 ? { 'millrace.delivery_attempt': attempt } : {}),
        },
        links: remote === undefined ? [] : [{ context: remote }],
      },
      parent,
    )
    return span.isRecording() ? new SpanTrace(span, trace.setSpan(parent, span), this.settings) : undefined
  }

  outside<T>(carrier: RecordCarrier, fn: () => T): T {
    const own = this.named(carrier) === 'nobody' ? ROOT_CONTEXT : this.extract(carrier)
    return own === context.active() ? fn() : context.with(own, fn)
  }

  send(topic: string): SentTrace {
    const parent = context.active()
    const span = this.settings.spans.startSpan(
      `send ${topic}`,
      {
        kind: SpanKind.PRODUCER,
        attributes: {
          ...KAFKA,
          'messaging.operation.name': 'send',
          'messaging.operation.type': 'send',
          'messaging.destination.name': topic,
        },
      },
      parent,
    )
    return {
      headers: injected(this.settings.propagator, trace.setSpan(parent, span)),
      end: (at, error) => {
        if (error !== undefined) markFailed(span, error, this.settings.content)
        if (at !== undefined) span.setAttribute('messaging.destination.partition.id', String(at.partition))
        if (at !== undefined && at.offset >= 0) span.setAttribute('messaging.kafka.offset', at.offset)
        span.end()
      },
    }
  }

  combine(operator: string, group: string, of: readonly Trace[]): Trace {
    const traces = of as readonly SpanTrace[]
    // That of the last one is sampled for certain; a trace of its own might not be.
    const parent = (traces.at(-1) as SpanTrace).context
    const span = this.settings.spans.startSpan(
      operator,
      {
        kind: SpanKind.INTERNAL,
        attributes: { ...KAFKA, 'messaging.consumer.group.name': group, 'millrace.operator': operator },
        links: traces.map((linked) => ({ context: linked.span.spanContext() })),
      },
      parent,
    )
    return new SpanTrace(span, trace.setSpan(parent, span), this.settings)
  }

  /** Whether headers name a trace, without taking more of them apart than that needs. */
  private named(carrier: RecordCarrier): 'nobody' | 'unsampled' | 'somebody' {
    let found: 'nobody' | 'somebody' = 'nobody'
    for (const name of this.fields) {
      const value = carrier.get(name)
      if (value === undefined) continue
      // "00-<trace id>-<span id>-<flags>"
      if (name === TRACEPARENT && UNSAMPLED.has(value.substring(FLAGS_AT, FLAGS_AT + 2))) return 'unsampled'
      found = 'somebody'
    }
    return found
  }

  private extract(carrier: RecordCarrier): Context {
    return this.settings.propagator.extract(ROOT_CONTEXT, carrier, getter)
  }

  private begins(): boolean {
    const { startTraces } = this.settings
    return startTraces > 0 && (startTraces >= 1 || Math.random() < startTraces)
  }
}

function isSampled({ traceFlags }: SpanContext): boolean {
  return (traceFlags & TraceFlags.SAMPLED) !== 0
}

function injected(propagator: TracerSettings['propagator'], of: Context): TraceHeaders {
  const headers: Record<string, string> = {}
  propagator.inject(of, headers, setter)
  return headers
}

class SpanTrace implements Trace {
  private written: TraceHeaders | undefined
  private readonly began = systemClock.now()
  private readonly beganAt = performance.now()
  private touched = 0
  private hasFailed = false

  constructor(
    readonly span: Span,
    readonly context: Context,
    private readonly settings: TracerSettings,
  ) {}

  get headers(): TraceHeaders {
    return (this.written ??= injected(this.settings.propagator, this.context))
  }

  within<T>(fn: () => T): T {
    return context.with(this.context, fn)
  }

  touch(): void {
    this.touched = performance.now() - this.beganAt
  }

  failed(error: unknown, step?: string): void {
    this.touch()
    this.hasFailed = true
    if (step !== undefined) this.span.setAttribute('millrace.step', step)
    markFailed(this.span, error, this.settings.content)
  }

  end(result: TraceResult, outcome: TraceOutcome | undefined): void {
    const { span } = this
    span.setAttribute('millrace.transaction.result', result)
    if (outcome !== undefined && result === 'committed') span.setAttribute('millrace.record.outcome', outcome)
    if (result !== 'committed' && !this.hasFailed) {
      span.setAttribute('error.type', `transaction_${result}`)
      span.setStatus({ code: SpanStatusCode.ERROR })
    }
    // What follows, the commit, is that of all records of the transaction.
    span.end(this.began + this.touched)
  }
}

function markFailed(span: Span, error: unknown, content: boolean): void {
  const type = errorType(error)
  span.setAttribute('error.type', type)
  if (content && error instanceof Error) span.recordException(error)
  else span.addEvent('exception', { 'exception.type': type })
  span.setStatus({ code: SpanStatusCode.ERROR, ...(content ? { message: errorMessage(error) } : {}) })
}
