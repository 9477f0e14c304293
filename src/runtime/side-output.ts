import { Observable, ignoreElements, merge, type OperatorFunction } from 'rxjs'
import { activeSlice } from './context.js'
import { Feed } from './slice-stream.js'
import { stageOf } from './stages.js'
import type { StreamOf } from './stream-of.js'

/** Where the items of a side output go: a pipe of their own, part of the same slice. */
export type SideOutput<S> = (items: StreamOf<S>) => Observable<unknown>

/**
 * An operator with a second output. `main` gets a function that puts an item there; what the side makes of it is done before the
 * slice is done, and its errors are the operator's.
 */
export function withSideOutput<T, R, S>(
  what: string,
  main: (put: (item: S) => void) => OperatorFunction<T, R>,
  side: SideOutput<S> | undefined,
): OperatorFunction<T, R> {
  if (side === undefined) return main(() => {})
  const operator = (source: Observable<T>): Observable<R> => {
    const both = new Observable<R>((target) => {
      const { stages } = activeSlice(what)
      const items = new Feed<S>(stages, `the side output of ${what}`)
      const out = new Observable<R>((subscriber) => {
        // The items end before what stands behind the operator learns of its end.
        const { complete } = subscriber
        subscriber.complete = function ended() {
          items.complete()
          complete.call(this)
        }
        return main((item) => items.push(item))(source).subscribe(subscriber)
      })
      // The side first: it has to listen when the first record comes.
      return merge(stages.observable(side(items), `the side output of ${what}`).pipe(ignoreElements()), out).subscribe(target)
    })
    return stageOf(source, both)
  }
  return Object.defineProperty(operator, 'name', { value: what })
}
