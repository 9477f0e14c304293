import type { ClaimRows } from './claim-rows.js'

interface Amended {
  readonly duplicates: number
  readonly result: string | undefined
}

/** What undoes a transaction's work on claims, beside its own. */
export class ClaimUndo {
  /** Of the claims that it amended, what they were. */
  readonly amended = new Map<number, Amended>()
  /** How many of its claims are over already. */
  pastCount = 0
  /** Those, by id. */
  readonly past = new Map<string, number[]>()

  setAside(id: string, row: number): void {
    this.pastCount++
    const past = this.past.get(id)
    if (past === undefined) this.past.set(id, [row])
    else past.push(row)
  }

  /** The claims it amended are what they were. */
  takeBack(rows: ClaimRows, results: Map<number, string>): void {
    for (const [row, { duplicates, result }] of this.amended) {
      rows.duplicates[row] = duplicates
      if (result === undefined) results.delete(row)
      else results.set(row, result)
    }
  }
}
