import { z } from 'zod'
import type { Duration } from '../../record/duration.js'
import { positiveDuration, positiveInteger } from '../options.js'

/** Between these a setting is adapted. What is set for it is allowed in any case. */
export interface TuneBounds {
  readonly min?: number
  readonly max?: number
}

export interface AutoTuneOptions {
  /**
   * Between two looks at what has changed. Default '10s'; a look takes longer where fewer than three transactions were done. Shorter adapts
   * sooner, and takes chance for a trend.
   */
  readonly every?: Duration
  /** Bytes fetched ahead. Default: from a quarter of the source's to four times as many. */
  readonly prefetchBytes?: TuneBounds
  /** Most records in one transaction. Default: up to four times as many. */
  readonly maxRecords?: TuneBounds
  /** Most bytes read in one transaction. Default: from a quarter to twice as many. */
  readonly maxBytes?: TuneBounds
  /** Calls under way at once in each partition, of each `attempt`. Default: from a quarter of its own, and two, to four times as many. */
  readonly concurrency?: TuneBounds
}

const bounds = z
  .strictObject({ min: positiveInteger.optional(), max: positiveInteger.optional() })
  .refine(({ min = 0, max = Number.POSITIVE_INFINITY }) => min <= max, { message: 'min is more than max' })
  .default({})

const schema = z.strictObject({
  every: positiveDuration.default(10_000),
  prefetchBytes: bounds,
  maxRecords: bounds,
  maxBytes: bounds,
  concurrency: bounds,
})

export type TuneSettings = z.output<typeof schema>

/** Undefined: nothing is adapted. */
export const autoTuneOption = z
  .union([z.boolean(), schema])
  .default(false)
  .transform((given): TuneSettings | undefined => (given === true ? schema.parse({}) : given === false ? undefined : given))
