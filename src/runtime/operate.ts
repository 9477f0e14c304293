import { Observable, Subscriber, type OperatorFunction, type Subscription } from 'rxjs'
import { stageOf } from './stages.js'

/** What an operator does with its input; what it does not name passes through. */
export interface Step<T> {
  /** What it throws becomes the error of the stream. */
  next(value: T): void
  complete?(): void
}

class StepSubscriber<T, R> extends Subscriber<T> {
  constructor(
    private readonly target: Subscriber<R>,
    private readonly step: Step<T>,
  ) {
    super(target)
  }

  protected override _next(value: T): void {
    try {
      this.step.next(value)
    } catch (error) {
      this.target.error(error)
    }
  }

  protected override _complete(): void {
    if (this.step.complete === undefined) return super._complete()
    try {
      this.step.complete()
    } catch (error) {
      this.target.error(error)
    } finally {
      this.unsubscribe()
    }
  }
}

/** Feeds one step of an operator that needs more than `operate`. */
export function subscribeStep<T, R>(source: Observable<T>, target: Subscriber<R>, step: Step<T>): Subscription {
  return source.subscribe(new StepSubscriber(target, step))
}

/**
 * Makes an operator in the way RxJS makes its own: one subscriber a stage, errors and completion passed on, teardown linked
 * before the source is subscribed. `init` runs at subscription, which is where the active slice is known; the name is for messages.
 */
export function operate<T, R>(name: string, init: (target: Subscriber<R>) => Step<T>): OperatorFunction<T, R> {
  const operator = (source: Observable<T>): Observable<R> =>
    stageOf(source, new Observable<R>((target) => subscribeStep(source, target, init(target))))
  return Object.defineProperty(operator, 'name', { value: name })
}
