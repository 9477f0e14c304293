/** Items by the time they come due, earliest first, and of one time by their order: a binary heap. */
export class DueHeap<T> {
  private times: number[] = []
  private orders: number[] = []
  private items: T[] = []

  get size(): number {
    return this.items.length
  }

  /** The earliest time, or infinity. */
  get next(): number {
    return this.times.length === 0 ? Number.POSITIVE_INFINITY : (this.times[0] as number)
  }

  /** Of the item that comes first; means something only where there is one. */
  get nextOrder(): number {
    return this.orders[0] as number
  }

  get first(): T | undefined {
    return this.items[0]
  }

  push(at: number, order: number, item: T): void {
    const { times, orders, items } = this
    let i = items.length
    times.push(at)
    orders.push(order)
    items.push(item)
    while (i > 0) {
      const parent = (i - 1) >> 1
      const parentAt = times[parent] as number
      if (parentAt < at || (parentAt === at && (orders[parent] as number) <= order)) break
      this.move(parent, i)
      i = parent
    }
    this.put(i, at, order, item)
  }

  /** Takes the first out. */
  pop(): T | undefined {
    const { times, orders, items } = this
    const first = items[0]
    const at = times.pop()
    const order = orders.pop()
    const item = items.pop()
    if (at === undefined || order === undefined || item === undefined || items.length === 0) return first
    this.sink(0, at, order, item)
    return first
  }

  /** Keeps only what `wanted` says yes to. */
  filter(wanted: (item: T, at: number, order: number) => boolean): void {
    const { times, orders, items } = this
    let kept = 0
    for (let i = 0; i < items.length; i++) {
      if (!wanted(items[i] as T, times[i] as number, orders[i] as number)) continue
      this.move(i, kept++)
    }
    // Copies, as a cut array keeps the room it had.
    this.times = times.slice(0, kept)
    this.orders = orders.slice(0, kept)
    this.items = items.slice(0, kept)
    for (let i = (kept >> 1) - 1; i >= 0; i--) this.sink(i, this.times[i] as number, this.orders[i] as number, this.items[i] as T)
  }

  /** All, in no order. */
  forEach(visit: (item: T, at: number) => void): void {
    for (let i = 0; i < this.items.length; i++) visit(this.items[i] as T, this.times[i] as number)
  }

  clear(): void {
    this.times = []
    this.orders = []
    this.items = []
  }

  private sink(from: number, at: number, order: number, item: T): void {
    const { times, orders } = this
    const length = times.length
    let i = from
    for (;;) {
      let child = 2 * i + 1
      if (child >= length) break
      if (child + 1 < length && this.isBefore(child + 1, times[child] as number, orders[child] as number)) child++
      if (!this.isBefore(child, at, order)) break
      this.move(child, i)
      i = child
    }
    this.put(i, at, order, item)
  }

  private isBefore(i: number, at: number, order: number): boolean {
    const mine = this.times[i] as number
    return mine < at || (mine === at && (this.orders[i] as number) < order)
  }

  private move(from: number, to: number): void {
    this.put(to, this.times[from] as number, this.orders[from] as number, this.items[from] as T)
  }

  private put(i: number, at: number, order: number, item: T): void {
    this.times[i] = at
    this.orders[i] = order
    this.items[i] = item
  }
}
