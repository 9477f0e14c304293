import { Observable } from 'rxjs'
import { z } from 'zod'
import type { Clock } from '../../record/clock.js'
import type { Duration } from '../../record/duration.js'
import { parseOptions, positiveDuration } from '../options.js'

export interface ChangesOptions {
  /** Least time between two of them. Default '1s'; less costs a snapshot each time. */
  readonly every?: Duration
}

/** What something is doing, to be asked for and to be followed. */
export interface StatusView<S> {
  /** As of now. Made out of what is there anyway: asking costs a walk over the partitions of this member, not asking nothing. */
  snapshot(): S
  /**
   * The status now, and again each time it is looked at and has changed: every second by the clock, whether anything commits or not. Looks
   * only while subscribed; completes behind the last status of what has ended.
   * @throws MillraceError INVALID_OPTIONS
   */
  changes(options?: ChangesOptions): Observable<S>
}

const schema = z.strictObject({ every: positiveDuration.default(1_000) })

/** A view that takes its snapshots by `take`; `isOver` tells whether one is the last. */
export function viewOf<S extends object>(take: () => S, isOver: (status: S) => boolean, clock: Clock): StatusView<S> {
  return {
    snapshot: take,
    changes(options = {}) {
      const { every } = parseOptions(schema, options, 'status.changes')
      return new Observable((subscriber) => {
        let cancel = (): void => {}
        let before: string | undefined
        const look = (): void => {
          const status = take()
          const text = comparable(status)
          if (text !== before) subscriber.next(status)
          before = text
          if (isOver(status)) subscriber.complete()
          if (!subscriber.closed) cancel = clock.after(every, look)
        }
        look()
        return () => cancel()
      })
    },
  }
}

const PASSING = new Set(['at', 'stateMs', 'time', 'process'])

/** What changes by itself as time passes is no news. */
function comparable(status: object): string {
  return JSON.stringify(status, (name, value: unknown) => (PASSING.has(name) ? undefined : value))
}
