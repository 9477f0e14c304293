import type { Observable } from 'rxjs'
import { z } from 'zod'
import { sleep } from '../../record/clock.js'
import type { Duration } from '../../record/duration.js'
import { CommitStream } from '../../runtime/commit-stream.js'
import { objectWith, parseOptions, positiveDuration, positiveInteger } from '../../runtime/options.js'
import { analysisOf, type Analysis } from './analysis.js'

export interface AnalyzeOptions {
  /** How long to look. Default '10s'; longer evens out what comes and goes. */
  readonly for?: Duration
  /** Between two looks. Default '1s'. */
  readonly every?: Duration
  /** The steps of one slice in so many are timed meanwhile. Default 20; 1 is exact and slow. */
  readonly sampleSteps?: number
  /** Ends it before its time, with what was seen. */
  readonly signal?: AbortSignal
}

const schema = z.strictObject({
  for: positiveDuration.default(10_000),
  every: positiveDuration.default(1_000),
  sampleSteps: positiveInteger.default(20),
  signal: objectWith<AbortSignal>(['addEventListener', 'removeEventListener'], 'an AbortSignal').optional(),
})

/**
 * Looks at a running pipeline for a while and says what keeps it from going faster, with the figures that say so and what to change. Of one
 * member: a group whose members run in several processes is looked at as a whole by `npx millrace analyze --status <url>`.
 *
 * While it looks, the steps of some slices are timed (`sampleSteps`), so that it can name the step; beside that it costs a snapshot a look.
 * Order, offsets and state are not touched. Memory: the statuses it takes.
 *
 * @param pipeline what withTransaction made, or what operators made of that
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SOURCE if it does not come from withTransaction
 * @example
 * const { bound, findings } = await analyze(commits, { for: '30s' })
 * console.log(bound, findings[0].what, findings[0].evidence, findings[0].advice)
 */
export async function analyze(pipeline: Observable<unknown>, options: AnalyzeOptions = {}): Promise<Analysis> {
  const { for: span, every, sampleSteps, signal } = parseOptions(schema, options, 'analyze')
  const stream = CommitStream.behind(pipeline, 'analyze')
  const { status, clock } = stream
  const stopSampling = stream.sampleSteps(sampleSteps)
  const began = clock.monotonic()
  const samples = [status.snapshot()]
  try {
    while (clock.monotonic() - began < span && signal?.aborted !== true) {
      await sleep(clock, Math.min(every, span - (clock.monotonic() - began)), signal)
      samples.push(status.snapshot())
    }
  } finally {
    stopSampling()
  }
  return analysisOf([samples])
}
