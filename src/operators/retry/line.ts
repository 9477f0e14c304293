/** The records of one key that are in retry topics. They are done in the order of their offsets. */
export interface Line {
  /** All up to this offset are done. */
  readonly done: number
  /** The last one. */
  readonly tail: number
  /** Where the first one waits, and until when: the others wait there too. */
  readonly tier: number
  readonly due: number
  /**
   * Those behind the first offset, up to the second, are done though one before them is not: they were dropped before the step that failed
   * on it.
   */
  readonly dropped?: readonly [after: number, upTo: number]
}

/** The line with all up to an offset done; what was dropped behind that counts as done once nothing before it is left. */
export function doneUpTo({ tail, tier, due }: Line, upTo: number, dropped: Line['dropped']): Line {
  if (dropped === undefined) return { done: upTo, tail, tier, due }
  if (upTo < dropped[0]) return { done: upTo, tail, tier, due, dropped }
  return { done: Math.max(upTo, dropped[1]), tail, tier, due }
}
