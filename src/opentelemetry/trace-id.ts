import { createHash } from 'node:crypto'
import { TraceFlags, createContextKey, isSpanContextValid, trace, type TextMapPropagator } from '@opentelemetry/api'
import { z } from 'zod'
import { parseOptions } from '../runtime/options.js'

export interface TraceIdOptions {
  /** The header that holds the id. Default 'X-Trace-ID'. Names of Kafka headers are told apart by their case. */
  readonly header?: string
}

const schema = z.strictObject({ header: z.string().min(1).default('X-Trace-ID') })

/** The id as it came, and the trace that it stands for. */
interface Given {
  readonly text: string
  readonly traceId: string
}
const GIVEN = createContextKey('millrace trace id')

/**
 * For programs that pass on nothing but an id in one header, as many did before W3C Trace Context.
 *
 * An id of 32 or 16 hexadecimal digits, or a UUID, is the trace's id; of any other text the trace gets an id that is made of it, always the
 * same. It goes on to the next program as it came. The header says neither which span it was nor whether that is sampled: all that have it
 * are, and their spans have a parent that nobody sends. Where a `CompositePropagator` found a trace in other headers, that one counts.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * openTelemetry({ propagator: traceIdPropagator() })
 */
export function traceIdPropagator(options: TraceIdOptions = {}): TextMapPropagator {
  const { header } = parseOptions(schema, options, 'traceIdPropagator')
  return {
    fields: () => [header],
    extract(context, carrier, getter) {
      const found = getter.get(carrier, header)
      const text = Array.isArray(found) ? found[0] : found
      if (text === undefined || text === '' || trace.getSpanContext(context) !== undefined) return context
      const traceId = traceIdOf(text)
      const given: Given = { text, traceId }
      return trace
        .setSpanContext(context, { traceId, spanId: spanIdOf(traceId), traceFlags: TraceFlags.SAMPLED, isRemote: true })
        .setValue(GIVEN, given)
    },
    inject(context, carrier, setter) {
      const span = trace.getSpanContext(context)
      if (span === undefined || !isSpanContextValid(span)) return
      const given = context.getValue(GIVEN) as Given | undefined
      setter.set(carrier, header, given?.traceId === span.traceId ? given.text : span.traceId)
    },
  }
}

function traceIdOf(text: string): string {
  const digits = text.replaceAll('-', '').toLowerCase()
  if (/^([0-9a-f]{16}|[0-9a-f]{32})$/.test(digits) && !/^0+$/.test(digits)) return digits.padStart(32, '0')
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

/** Some span of that trace: which one it was the header does not say. */
function spanIdOf(traceId: string): string {
  return createHash('sha256').update(traceId).digest('hex').slice(0, 16)
}
