import type { Observable } from 'rxjs'
import { MillraceError } from '../record/error.js'
import { CommitStream } from '../operators/with-transaction.js'

/** What a pipeline reads, does and writes. */
export interface Description {
  readonly group: string
  readonly guarantee: string
  readonly commitEveryMs: number
  readonly inputs: readonly string[]
  readonly outputs: readonly { readonly topic: string; readonly writtenBy: readonly string[] }[]
  /** The same as lines of text, for people. */
  toString(): string
}

/**
 * Tells what a pipeline is made of, by a dry subscription: nothing connects. For people as text, for machines through JSON.stringify.
 *
 * @throws MillraceError OUTSIDE_SOURCE if the observable does not come from withTransaction, PLAN_FAILED
 * @example
 * console.log(String(describe(pipeline)))
 */
export function describe(pipeline: Observable<unknown>): Description {
  let at: Observable<unknown> | undefined = pipeline
  // RxJS links each observable to the one it was made from; operators behind withTransaction are passed over.
  while (at !== undefined && !(at instanceof CommitStream)) at = (at as { source?: Observable<unknown> }).source
  if (at === undefined) throw new MillraceError('OUTSIDE_SOURCE', 'describe takes what withTransaction made: cluster.source(...).pipe(withTransaction(...))')
  const { group, guarantee, everyMs, inputs, outputs } = at.plan()
  return Object.defineProperty({ group, guarantee, commitEveryMs: everyMs, inputs, outputs }, 'toString', {
    value(this: Description) {
      return [
        `group ${this.group}, ${this.guarantee}, commit every ${this.commitEveryMs} ms`,
        ...this.inputs.map((topic) => `  reads  ${topic}`),
        ...this.outputs.map(({ topic, writtenBy }) => `  writes ${topic}  (${writtenBy.join(', ')})`),
      ].join('\n')
    },
  }) as Description
}
