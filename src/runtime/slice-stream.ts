import { Observable, type OperatorFunction, type Subscriber } from 'rxjs'
import { MillraceError } from '../record/error.js'
import type { RawRecord } from '../record/record.js'
import { Stages, callSite } from './stages.js'

/** The records of one task: of one transaction inside `withTransaction`, of all time outside. */
export interface RecordStream extends Observable<RawRecord> {
  readonly topics: readonly string[]
  readonly partition: number
}

/**
 * The records of one task in one transaction: a finite observable.
 *
 * Order: the partition's. It may be subscribed more than once (`merge(r.pipe(a), r.pipe(b))`), but only before its first record.
 */
export class SliceStream extends Observable<RawRecord> implements RecordStream {
  private readonly targets: Subscriber<RawRecord>[] = []
  private started: RawRecord | undefined
  private over = false
  readonly stages = new Stages()

  constructor(
    readonly topics: readonly string[],
    readonly partition: number,
    private readonly onSubscribe: () => void = () => {},
  ) {
    super()
    // Every operator of the pipe is seen here, which is what lets the watchdog name one. Assigned, since the overloads of
    // `pipe` cannot be restated.
    const pipe = (...operators: OperatorFunction<unknown, unknown>[]): Observable<unknown> =>
      operators.length === 0 ? this : this.stages.pipe(this as Observable<unknown>, operators, callSite())
    this.pipe = pipe as typeof this.pipe
  }

  /** @internal RxJS calls it for every subscription. */
  protected _subscribe(subscriber: Subscriber<RawRecord>): () => void {
    if (this.started !== undefined || this.over) {
      subscriber.error(
        new MillraceError(
          'SLICE_SUBSCRIBED_LATE',
          `the slice of partition ${this.partition} was subscribed after its first record (${this.started?.id ?? 'none'}): those before would be missing. Subscribe all branches at once; use attempt or onError instead of retry, and no defer that waits`,
          { origin: this.started?.origin },
        ),
      )
      return () => {}
    }
    this.onSubscribe()
    this.targets.push(subscriber)
    return () => {
      const at = this.targets.indexOf(subscriber)
      if (at >= 0) this.targets.splice(at, 1)
    }
  }

  push(record: RawRecord): void {
    this.started ??= record
    const targets = this.targets
    if (targets.length === 1) {
      ;(targets[0] as Subscriber<RawRecord>).next(record)
      return
    }
    for (const target of targets.slice()) target.next(record)
  }

  complete(): void {
    this.over = true
    for (const target of this.targets.slice()) target.complete()
  }
}
