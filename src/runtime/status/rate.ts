const SECONDS = 10

/** Events per second over the last ten: one number a second, however many come. */
export class Rate {
  private readonly perSecond = new Array<number>(SECONDS + 1).fill(0)
  private second = 0

  constructor(private readonly began: number) {}

  /** `now` by the monotonic clock. */
  add(count: number, now: number): void {
    this.goTo(now)
    const at = this.second % this.perSecond.length
    this.perSecond[at] = (this.perSecond[at] as number) + count
  }

  /** Of the seconds that are over and the part of the present one. */
  at(now: number): number {
    this.goTo(now)
    const seconds = (now - this.began) / 1_000
    const present = seconds - Math.floor(seconds)
    const spanned = Math.min(seconds, SECONDS + present)
    if (spanned < 1) return this.sum() / Math.max(spanned, 0.1)
    return this.sum() / spanned
  }

  private sum(): number {
    return this.perSecond.reduce((sum, count) => sum + count, 0)
  }

  private goTo(now: number): void {
    const second = Math.floor((now - this.began) / 1_000)
    const forget = Math.min(second - this.second, this.perSecond.length)
    for (let i = 0; i < forget; i++) this.perSecond[(second - i) % this.perSecond.length] = 0
    this.second = Math.max(this.second, second)
  }
}
