import type { MonoTypeOperatorFunction } from 'rxjs'
import { z } from 'zod'
import { activeSlice } from '../runtime/context.js'
import { operate } from '../runtime/operate.js'
import { parseOptions } from '../runtime/options.js'

export interface MeterOptions {
  /** Its name in `Commit.meters`. */
  readonly name: string
}

const schema = z.strictObject({ name: z.string().min(1) })

/**
 * Counts what passes, changing nothing; the count of each transaction stands in `Commit.meters`. Two of them around a `filter` tell what it
 * drops.
 *
 * Only committed transactions are counted: what an aborted one counted is forgotten with it.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction
 * @example
 * records.pipe(meter({ name: 'all' }), filter(isLarge), meter({ name: 'large' }))
 */
export function meter<T>(options: MeterOptions): MonoTypeOperatorFunction<T> {
  const { name } = parseOptions(schema, options, 'meter')
  return operate(`meter ${name}`, (target) => {
    const counter = activeSlice(`meter '${name}'`).meter(name)
    return {
      next(item) {
        counter.count++
        target.next(item)
      },
    }
  })
}
