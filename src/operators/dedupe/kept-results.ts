import type { LogRecord } from '../../record/record.js'
import type { SliceContext } from '../../runtime/context.js'

/** Stores a result with the claim of an id; false if there is none. */
export type KeepResult = (id: string, record: LogRecord<unknown, unknown>, result: string) => boolean

/** How the `dedupe` operators of a pipeline take results, by name and partition. */
export function resultKeepers(slice: SliceContext): Map<string, KeepResult> {
  return slice.shared('results of dedupe', () => new Map<string, KeepResult>())
}
