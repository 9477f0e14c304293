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
