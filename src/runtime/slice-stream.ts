import type { Subscriber } from 'rxjs'
import { MillraceError } from '../record/error.js'
import type { RawRecord } from '../record/record.js'
import { StageStream, type Stages } from './stages.js'
import type { StreamOf } from './stream-of.js'

/** The records of one task: of one transaction inside `withTransaction`, of all time outside. */
export interface RecordStream extends StreamOf<RawRecord> {
  readonly topics: readonly string[]
  readonly partition: number
}

/**
 * Where a pipe over part of a slice begins: the slice itself, or a side output.
 *
 * It may be subscribed more than once (`merge(r.pipe(a), r.pipe(b))`), but only before its first item, and it is left by nobody before its
 * end.
 */
export class Feed<T> extends StageStream<T> {
  private readonly targets: Subscriber<T>[] = []
  protected started: T | undefined
  private over = false

  constructor(
    stages: Stages,
    protected readonly what: string,
    private readonly onSubscribe: () => void = () => {},
  ) {
    super(stages, stages.root(what))
  }

  /** @internal RxJS calls it for every subscription. */
  protected _subscribe(subscriber: Subscriber<T>): () => void {
    if (this.started !== undefined || this.over) {
      subscriber.error(this.late())
      return () => {}
    }
    this.onSubscribe()
    this.stage.opened++
    const { timing, current } = this.stages
    const target = timing === undefined ? subscriber : timing.towards(current, subscriber)
    this.targets.push(target)
    return () => {
      const at = this.targets.indexOf(target)
      if (at >= 0) this.targets.splice(at, 1)
    }
  }

  /** Whether something was put in that nobody ever listened to. */
  get unheard(): boolean {
    return this.started !== undefined && this.stage.opened === 0
  }

  push(item: T): void {
    this.started ??= item
    const targets = this.targets
    if (targets.length === 1) {
      ;(targets[0] as Subscriber<T>).next(item)
      return
    }
    for (const target of targets.slice()) target.next(item)
  }

  complete(): void {
    this.over = true
    const targets = this.targets.slice()
    // Nothing more comes: whom the end of another tears down before its own has lost nothing here.
    this.stage.completed += targets.length
    for (const target of targets) target.complete()
  }

  protected late(): MillraceError {
    return new MillraceError(
      'SLICE_SUBSCRIBED_LATE',
      `${this.what} was subscribed after its first item: those before would be missing. Subscribe all branches at once; use attempt or onError instead of retry, and no defer that waits`,
    )
  }
}

/**
 * The records of one task in one transaction: a finite observable.
 *
 * Order: the partition's.
 */
export class SliceStream extends Feed<RawRecord> implements RecordStream {
  constructor(
    stages: Stages,
    readonly topics: readonly string[],
    readonly partition: number,
    onSubscribe?: () => void,
  ) {
    super(stages, `the slice of partition ${partition}`, onSubscribe)
  }

  protected override late(): MillraceError {
    return new MillraceError(
      'SLICE_SUBSCRIBED_LATE',
      `the slice of partition ${this.partition} was subscribed after its first record (${this.started?.id ?? 'none'}): those before would be missing. Subscribe all branches at once; use attempt or onError instead of retry, and no defer that waits`,
      { origin: this.started?.origin },
    )
  }
}
