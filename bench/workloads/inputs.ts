import type { Input, Row } from '../compare/workload.js'

const PARTITIONS = 4

/** 100 bytes of JSON, or as many as asked for. */
export function order(i: number, bytes = 100): string {
  const head = `{"id":${i},"sku":"sku-${i % 1000}","amount":${i % 97},"note":"`
  return `${head}${'x'.repeat(Math.max(0, bytes - 2 - head.length))}"}`
}

/** The same in each run of the bench: what is compared must not depend on the day. */
const EPOCH = Date.UTC(2026, 0, 1)

function input(name: string, count: number, row: (i: number) => Row, more: Partial<Input> = {}): Input {
  return {
    name,
    partitions: PARTITIONS,
    *rows() {
      for (let i = 0; i < count; i++) yield row(i)
    },
    ...more,
  }
}

export function orders(count: number, bytes = 100, partitions = PARTITIONS): Input {
  return input(
    `orders-${bytes}-${count}-${partitions}`,
    count,
    (i) => ({ key: `k${i % 10_000}`, value: order(i, bytes), timestamp: EPOCH + i }),
    { partitions },
  )
}

/** One id in ten comes a second time. */
export function withDuplicates(count: number): Input {
  return input(`duplicates-${count}`, count, (i) => {
    const id = i % 10 === 9 ? i - 5 : i
    return { key: `id-${id}`, value: order(id), timestamp: EPOCH + i }
  })
}

export const KEYS = 10_000

/** Every key ten times in each window of 10 s. */
export function tenAWindow(count: number): Input {
  return input(`ten-a-window-${count}`, count, (i) => ({
    key: `k${(i * 7) % KEYS}`,
    value: order(i),
    timestamp: EPOCH + Math.floor(i / 10),
  }))
}

/** A millisecond apart, of 10,000 keys: 7,692 of them in each window of 10 s, 1.3 times each. */
export function fewAWindow(count: number): Input {
  return input(`few-a-window-${count}`, count, (i) => {
    const window = Math.floor(i / 10_000)
    return { key: `k${(window * 2_309 + (i % 7_692) * 7) % KEYS}`, value: order(i), timestamp: EPOCH + i }
  })
}

/** A thousand keys at a time are there for 5 s, five times each, then the next thousand: sessions of five, with gaps of 45 s. */
export function bursts(count: number): Input {
  return input(`bursts-${count}`, count, (i) => {
    const block = Math.floor(i / 5_000) % 10
    return { key: `k${block * 1_000 + (i % 1_000)}`, value: order(i), timestamp: EPOCH + i }
  })
}

/** Two topics that belong together: what the second says of an order comes a second later. */
export function pairs(count: number): readonly Input[] {
  const row = (late: number) => (i: number) => ({ key: `o${i}`, value: order(i), timestamp: EPOCH + i + late })
  return [input(`left-${count}`, count, row(0)), input(`right-${count}`, count, row(1_000))]
}

export const TABLE_ROWS = 1_000_000

export function ordersOfCustomers(count: number): readonly Input[] {
  return [
    input(`orders-of-customers-${count}`, count, (i) => ({
      key: `c${(i * 7_919) % TABLE_ROWS}`,
      value: order(i),
      timestamp: EPOCH + TABLE_ROWS + i,
    })),
    input(`customers`, TABLE_ROWS, (i) => ({ key: `c${i}`, value: `{"city":"city-${i % 500}"}`, timestamp: EPOCH + i }), { table: true }),
  ]
}
