/**
 * Wall-clock times at which operators of a task want to be called though no record comes. Kept in memory only: operators set
 * them again from their state after a restore.
 */
export class Alarms {
  private times = new Map<string, number>()
  private committed = new Map<string, number>()
  private earliest = Number.POSITIVE_INFINITY

  /** `at` in milliseconds since the epoch; undefined takes the alarm back. */
  set(name: string, at: number | undefined): void {
    if (this.times.get(name) === at) return
    if (at === undefined) this.times.delete(name)
    else this.times.set(name, at)
    this.earliest = Math.min(Number.POSITIVE_INFINITY, ...this.times.values())
  }

  at(name: string): number | undefined {
    return this.times.get(name)
  }

  /** The time of the next one, or infinity. */
  get next(): number {
    return this.earliest
  }

  /** Takes those that are due, in the order they were first set. */
  take(now: number): string[] {
    if (this.earliest > now) return []
    const due = [...this.times].filter(([, at]) => at <= now).map(([name]) => name)
    for (const name of due) this.set(name, undefined)
    return due
  }

  commit(): void {
    this.committed = new Map(this.times)
  }

  rollback(): void {
    this.times = new Map(this.committed)
    this.earliest = Math.min(Number.POSITIVE_INFINITY, ...this.times.values())
  }
}
