import { Observable, type Subscriber } from 'rxjs'

type AnyOperator = (source: Observable<unknown>) => Observable<unknown>

/** One operator of a pipe and whether its input and its output have ended. */
interface Stage {
  readonly position: number
  readonly name: string
  ended: boolean
}

/**
 * Remembers which operators of a slice's pipe have completed, so that a slice that never does can be blamed on one.
 *
 * Costs nothing a record: the subscriber of a stage is the real one, only its `complete` is watched.
 */
export class Stages {
  private readonly pipes: { readonly at: string; readonly stages: Stage[] }[] = []

  /** `pipe` of the slice, stage by stage. */
  pipe(source: Observable<unknown>, operators: readonly AnyOperator[], at: string): Observable<unknown> {
    const stages: Stage[] = operators.map((operator, i) => ({ position: i + 1, name: nameOf(operator), ended: false }))
    this.pipes.push({ at, stages })
    return operators.reduce((observable, operator, i) => watchEnd(operator(observable), stages[i] as Stage), source)
  }

  /** The first operator whose input ended while it did not; undefined if every operator of the pipe ended. */
  blame(): string | undefined {
    for (const { at, stages } of this.pipes) {
      const held = stages.find((stage) => !stage.ended)
      if (held !== undefined) return `operator ${held.position} of ${stages.length}${held.name} of the pipe at ${at}`
    }
    return undefined
  }
}

/** Ours have a name (see operate); RxJS leaves its own without one. */
function nameOf(operator: AnyOperator): string {
  return operator.name === '' ? '' : ` (${operator.name})`
}

function watchEnd(observable: Observable<unknown>, stage: Stage): Observable<unknown> {
  return new Observable<unknown>((subscriber: Subscriber<unknown>) => {
    const complete = subscriber.complete
    subscriber.complete = function watched(this: Subscriber<unknown>) {
      stage.ended = true
      complete.call(this)
    }
    return observable.subscribe(subscriber)
  })
}

/** File and line of the caller outside this library, for messages. */
export function callSite(): string {
  const lines = new Error().stack?.split('\n').slice(1) ?? []
  const outside = lines.find((line) => !/[\\/]runtime[\\/](stages|slice|slice-stream)\.[jt]s|node:internal|rxjs/.test(line))
  return /\(?((?:file:\/\/)?[^()\s]+:\d+:\d+)\)?$/.exec(outside ?? '')?.[1] ?? 'an unknown place'
}
