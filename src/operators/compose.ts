import { Observable, isObservable, type OperatorFunction } from 'rxjs'
import { MillraceError } from '../record/error.js'
import { kindOf } from '../record/kind-of.js'
import { optionalSlice } from '../runtime/context.js'
import type { Compose } from '../runtime/stream-of.js'
import { StageStream, stageOf } from '../runtime/stages.js'

type AnyOperator = OperatorFunction<unknown, unknown>

/**
 * Makes one operator of up to 25, under a name: a reusable piece of a pipeline, with its own types at both ends.
 *
 * `describe` lists it and says beside each topic and each store in which piece it is written or kept; so do messages of what stands in it.
 * It may be used in several pipes; used twice in one pipeline, what keeps state in it needs a name of its own in each.
 *
 * Order, offsets, state, memory: those of its operators. It costs nothing a record.
 *
 * @throws MillraceError INVALID_OPTIONS where the first argument is no name or another one no operator
 * @example
 * const paid = compose('paid', decode(Order), attempt(charge), deadLetter({ topic: 'orders.dead' }))
 * records.pipe(paid, toTopic({ topic: 'receipts', value: json() }))
 */
export const compose = ((name: string, ...operators: readonly OperatorFunction<never, never>[]) => {
  check(name, operators)
  const given = operators as readonly unknown[] as readonly AnyOperator[]
  const operator = (source: Observable<unknown>): Observable<unknown> => {
    const pieces = optionalSlice()?.pieces
    if (pieces === undefined) return piped(source, name, given)
    // In planning alone: what is subscribed on the way from the end of the piece to its beginning stands in it.
    pieces.add(
      name,
      given.map((one) => (one.name === '' ? 'rxjs' : one.name)),
    )
    const before = new Observable<unknown>((target) => pieces.within(undefined, () => source.subscribe(target)))
    const out = piped(stageOf(source, before), name, given)
    return stageOf(source, new Observable<unknown>((target) => pieces.within(name, () => out.subscribe(target))))
  }
  return Object.defineProperty(operator, 'name', { value: name })
}) as unknown as Compose

function piped(source: Observable<unknown>, name: string, operators: readonly AnyOperator[]): Observable<unknown> {
  if (source instanceof StageStream) return source.pipedAs(operators, name)
  return operators.reduce<Observable<unknown>>((at, operator, i) => {
    const made: unknown = operator(at)
    if (isObservable(made)) return made
    throw new MillraceError('PLAN_FAILED', `operator ${i + 1} of ${operators.length} of '${name}' returned no observable`)
  }, source)
}

/** Programs in JavaScript have no compiler. */
function check(name: unknown, operators: readonly unknown[]): void {
  if (typeof name !== 'string' || name === '')
    throw new MillraceError(
      'INVALID_OPTIONS',
      `compose: its first argument is the name of the piece, such as 'enrich', got ${name === '' ? 'an empty text' : kindOf(name)}`,
    )
  const wrong = operators.findIndex((operator) => typeof operator !== 'function')
  if (wrong >= 0)
    throw new MillraceError('INVALID_OPTIONS', `compose '${name}': operator ${wrong + 1} is ${kindOf(operators[wrong])}, not an operator`)
  if (operators.length === 0) throw new MillraceError('INVALID_OPTIONS', `compose '${name}': name at least one operator`)
}
