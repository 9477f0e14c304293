import { describe, expectTypeOf, it } from 'vitest'
import { embedded, json, string, type Producer, type RawRecord, type WrittenRecord } from '../../src/index.js'

interface Order {
  readonly id: string
}

const cluster = embedded()

describe('producer', () => {
  it('takes what its serdes take', () => {
    const producer = cluster.producer({ key: string(), value: json<Order>() })
    expectTypeOf(producer).toEqualTypeOf<Producer<string | null, Order>>()
    expectTypeOf(producer.send({ topic: 't', key: 'k', value: { id: 'a' } })).toEqualTypeOf<Promise<WrittenRecord>>()
    // @ts-expect-error the value is no order
    void producer.send({ topic: 't', value: { name: 'a' } })
    expectTypeOf(producer.transaction((tx) => tx.send({ value: null }).then(() => 5))).toEqualTypeOf<Promise<number>>()
  })

  it('without serdes takes text, bytes and null', () => {
    const producer = cluster.producer()
    void producer.send({ topic: 't', key: Buffer.from('k'), value: 'text' })
    // @ts-expect-error an object wants a serde
    void producer.send({ topic: 't', value: { id: 'a' } })
  })

  it('consume gives records of bytes', () => {
    expectTypeOf(cluster.consume({ topics: ['t'] })).toEqualTypeOf<AsyncIterable<RawRecord>>()
  })
})
