import { Subject, ignoreElements, merge, tap, type Observable, type OperatorFunction } from 'rxjs'

/** Where the items of a side output go: a pipe of their own, part of the same slice. */
export type SideOutput<S> = (items: Observable<S>) => Observable<unknown>

/**
 * An operator with a second output. `main` gets a function that puts an item there; what the side makes of it is done before the
 * slice is done, and its errors are the operator's.
 */
export function withSideOutput<T, R, S>(
  main: (put: (item: S) => void) => OperatorFunction<T, R>,
  side: SideOutput<S> | undefined,
): OperatorFunction<T, R> {
  if (side === undefined) return main(() => {})
  return (source) => {
    const items = new Subject<S>()
    const out = source.pipe(
      main((item) => items.next(item)),
      tap({ complete: () => items.complete() }),
    )
    // The side first: it has to listen when the first record comes.
    return merge(side(items).pipe(ignoreElements()), out)
  }
}
