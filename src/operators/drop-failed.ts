import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { FailedRecord, type FailuresOf } from '../record/failed-record.js'
import type { Good } from '../record/types.js'
import { optionalSlice } from '../runtime/context.js'
import { FailureNotice } from '../runtime/notice.js'
import { operate } from '../runtime/operate.js'
import { functionOption, parseOptions } from '../runtime/options.js'

export interface DropFailedOptions<F extends FailedRecord = FailedRecord> {
  /** Called with each one, e.g. to log it. Default: nothing. */
  readonly tap?: (failed: F) => void
}

const schema = z.strictObject({ tap: functionOption<(failed: FailedRecord) => void>('a function of the failed record').optional() })

/**
 * Takes FailedRecords out of the stream. They are counted as `failed` in the Commit, their offsets commit with the rest, and the log tells
 * of them, twice a minute at most.
 *
 * Order: kept. State, memory: none. What `tap` throws fails the slice.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * records.pipe(decode(Order), dropFailed({ tap: (failed) => log.warn(failed.error) }), toTopic({ topic: 'orders', value: json() }))
 */
export function dropFailed<R>(options: DropFailedOptions<FailuresOf<R>> = {}): OperatorFunction<R, Good<R>> {
  const { tap } = parseOptions(schema, options, 'dropFailed')
  return operate('dropFailed', (target) => {
    const slice = optionalSlice()
    const notice = slice === undefined ? undefined : new FailureNotice(slice, 'dropFailed', 'failed records were dropped')
    return {
      next(item) {
        if (!(item instanceof FailedRecord)) return target.next(item as Good<R>)
        slice?.traces?.failed(item)
        notice?.add(item)
        tap?.(item)
      },
      complete() {
        notice?.end()
        target.complete()
      },
    }
  })
}
