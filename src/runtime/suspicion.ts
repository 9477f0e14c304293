/**
 * Finds the one record that makes a slice fail: runs the slice again as it is (the fault may pass), then ever smaller front
 * parts of it. A part that passes commits and is out of it; the poison is alone after about log2(n) runs.
 *
 * Assumes one culprit at a time; a second one behind it is found by a new suspicion.
 */
export class Suspicion {
  verdict: 'searching' | 'cleared' | 'found' = 'searching'
  runs = 0
  private phase: 'again' | 'search' = 'again'
  private suspects: number
  private hint: number | undefined

  constructor(
    records: number,
    private reruns: number,
    /** How many records stood before the one being pushed when the failure came; undefined if it came later. */
    hint?: number,
  ) {
    this.suspects = records
    this.hint = hint
    if (reruns === 0) this.phase = 'search'
    if (records === 0) this.verdict = 'cleared'
  }

  /** False while the slice is only run again as it is. */
  get searching(): boolean {
    return this.phase === 'search'
  }

  /** How many records, from the front, to run next. */
  next(): number {
    if (this.phase === 'again') return this.suspects
    const { hint } = this
    // What stands before the record that was being pushed is tried as one; then that record alone.
    if (hint !== undefined && hint < this.suspects) return Math.max(1, hint)
    return Math.max(1, Math.floor(this.suspects / 2))
  }

  passed(count: number): void {
    this.runs++
    this.suspects -= count
    if (this.hint !== undefined) this.hint = this.hint === count ? 0 : undefined
    if (this.suspects <= 0) this.verdict = 'cleared'
  }

  failed(count: number, hint?: number): void {
    this.runs++
    if (this.phase === 'again') {
      if (--this.reruns <= 0) this.phase = 'search'
      this.hint = hint
      // A slice of one is its own suspect.
      if (this.phase === 'search' && this.suspects === 1) this.verdict = 'found'
      return
    }
    this.suspects = count
    this.hint = hint
    if (count === 1) this.verdict = 'found'
  }
}
