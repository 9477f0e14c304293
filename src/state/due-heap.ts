/** Items by the time they come due, earliest first: a binary heap. Those of one time come in no particular order. */
export class DueHeap<T> {
  private readonly times: number[] = []
  private readonly items: T[] = []

  get size(): number {
    return this.items.length
  }

  /** The earliest time, or infinity. */
  get next(): number {
    return this.times.length === 0 ? Number.POSITIVE_INFINITY : (this.times[0] as number)
  }

  push(at: number, item: T): void {
    const { times, items } = this
    let i = items.length
    times.push(at)
    items.push(item)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if ((times[parent] as number) <= at) break
      times[i] = times[parent] as number
      items[i] = items[parent] as T
      i = parent
    }
    times[i] = at
    items[i] = item
  }

  /** Takes the earliest out. */
  pop(): T | undefined {
    const { times, items } = this
    const first = items[0]
    const at = times.pop()
    const item = items.pop()
    const length = items.length
    if (at === undefined || item === undefined || length === 0) return first
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= length) break
      if (child + 1 < length && (times[child + 1] as number) < (times[child] as number)) child++
      if ((times[child] as number) >= at) break
      times[i] = times[child] as number
      items[i] = items[child] as T
      i = child
    }
    times[i] = at
    items[i] = item
    return first
  }

  clear(): void {
    this.times.length = 0
    this.items.length = 0
  }
}
