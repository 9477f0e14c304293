import type { Observable } from 'rxjs'
import { CommitStream } from '../runtime/commit-stream.js'
import type { PlanStep } from '../runtime/topology.js'

/** What a pipeline reads, does and writes. */
export interface Description {
  readonly group: string
  readonly guarantee: string
  readonly commitEveryMs: number
  readonly inputs: readonly string[]
  readonly outputs: readonly { readonly topic: string; readonly writtenBy: readonly string[] }[]
  /** State, and the topic it is restored from: a changelog of the pipeline's own, or the topic that a table shows. */
  readonly stores: readonly { readonly name: string; readonly kind: string; readonly operator: string; readonly topic: string }[]
  /** Topics the pipeline both writes and reads. */
  readonly internal: readonly { readonly topic: string; readonly operator: string }[]
  /** Operators that `compose` made, and of which. */
  readonly pieces: readonly { readonly name: string; readonly operators: readonly string[] }[]
  /** The steps that have a name, and how they hang together: RxJS's own have none; what stands behind a `merge` counts as first. */
  readonly steps: readonly PlanStep[]
  /** What is allowed and likely not meant. */
  readonly warnings: readonly string[]
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
  const { group, guarantee, everyMs, inputs, outputs, stores, inlets, pieces, steps, warnings } = CommitStream.behind(
    pipeline,
    'describe',
  ).plan()
  const description = {
    group,
    guarantee,
    commitEveryMs: everyMs,
    inputs,
    outputs,
    stores: stores.map(({ spec, operator, topic }) => ({ name: spec.name, kind: spec.kind, operator, topic })),
    internal: inlets.map(({ topic, operator }) => ({ topic, operator })),
    pieces,
    steps,
    warnings,
  }
  return Object.defineProperty(description, 'toString', {
    value(this: Description) {
      return [
        `group ${this.group}, ${this.guarantee}, commit every ${this.commitEveryMs} ms`,
        ...this.inputs.map((topic) => `  reads  ${topic}`),
        ...this.pieces.map(({ name, operators }) => `  runs   ${name}  (${operators.join(', ')})`),
        ...this.outputs.map(({ topic, writtenBy }) => `  writes ${topic}  (${writtenBy.join(', ')})`),
        ...this.internal.map(({ topic, operator }) => `  writes and reads ${topic}  (${operator})`),
        ...this.stores.map(({ name, kind, operator, topic }) => `  keeps  ${name}  (${operator}, ${kind}) on ${topic}`),
        ...this.warnings.map((warning) => `  warning: ${warning}`),
      ].join('\n')
    },
  }) as Description
}
