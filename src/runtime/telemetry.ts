import { z } from 'zod'
import type { Durations } from '../record/durations.js'
import type { Tracer } from '../record/tracing.js'

/** By what a cluster is observed from outside: `openTelemetry()` of `millrace/opentelemetry` makes one. */
export interface Telemetry {
  /** Follows records. */
  readonly tracer: Tracer
  /** Is told how long transactions and requests take. */
  readonly durations?: Durations
}

export const telemetryOption = z
  .custom<Telemetry>(
    (given) => typeof (given as { readonly tracer?: { readonly start?: unknown } } | null | undefined)?.tracer?.start === 'function',
    { message: 'expected openTelemetry(...) of millrace/opentelemetry' },
  )
  .optional()
