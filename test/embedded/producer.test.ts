import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { embedded, json, type Cluster, type ProducerRecord } from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'

interface Setup {
  readonly broker: EmbeddedBroker
  readonly cluster: Cluster
  readonly stored: (topic?: string) => Promise<{ key: string; value: string; partition: number; offset: number }[]>
}

async function setup(partitions = 3): Promise<Setup> {
  const broker = createEmbeddedBroker()
  const cluster = embedded({ broker })
  await cluster.createTopics([{ topic: 't', partitions }])
  const stored: Setup['stored'] = async (topic = 't') => {
    const all = []
    for await (const { key, value, origin } of cluster.read({ topic }))
      all.push({ key: String(key), value: String(value), partition: origin.partition, offset: origin.offset })
    return all
  }
  return { broker, cluster, stored }
}

describe('producer', () => {
  it('tells where each record stands, and writes through serdes', async () => {
    const { cluster, stored } = await setup()
    await using producer = cluster.producer({ topic: 't', key: json<{ id: number }>(), value: json<number[]>() })
    const at = await Promise.all([1, 2, 3, 4].map((id) => producer.send({ key: { id }, value: [id] })))
    const all = await stored()
    for (const [i, { topic, partition, offset }] of at.entries()) {
      expect(topic).toBe('t')
      expect(all.find((one) => one.partition === partition && one.offset === offset)?.value).toBe(`[${i + 1}]`)
    }
    expect(producer.stats).toMatchObject({ sent: 4, written: 4, failed: 0, pending: 0, bytes: 0 })
    await cluster.close()
  })

  it('gathers what is sent in one turn: 1,000 calls are a batch a partition', async () => {
    const { cluster, stored } = await setup()
    const producer = cluster.producer({ topic: 't' })
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => producer.send({ key: `k${i % 30}`, value: `${i}` })))
    expect(producer.stats.batches).toBeLessThanOrEqual(6)
    expect(await stored()).toHaveLength(1_000)
    await cluster.close()
  })

  it('calls that are not awaited keep the order of their key, those of produce too', async () => {
    const { cluster, stored } = await setup()
    const producer = cluster.producer({ topic: 't' })
    for (let i = 0; i < 300; i++) void producer.send({ key: `k${i % 7}`, value: `${i}` })
    await producer.flush()
    const calls = Array.from({ length: 200 }, (_, i) => cluster.produce({ topic: 't', records: [{ key: `p${i % 7}`, value: `${i}` }] }))
    await Promise.all(calls)
    expectOrdered(await stored())
    await cluster.close()
  })

  it('order by key holds whatever fails on the way; nothing is written twice', async () => {
    const fault = fc.record({
      after: fc.nat(8),
      times: fc.integer({ min: 1, max: 2 }),
      tookEffect: fc.boolean(),
      reaction: fc.constantFrom('retry' as const, 'abort' as const),
      of: fc.constantFrom('t/0', 't/1', 't'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(fault, { maxLength: 4 }), fc.array(fc.nat(4), { minLength: 1, maxLength: 60 }), async (faults, keys) => {
        const { broker, cluster, stored } = await setup()
        for (const one of faults) broker.faults.inject({ at: 'produce', ...one, delayMs: 0 })
        const producer = cluster.producer({ topic: 't', batchBytes: 200 })
        const results = await Promise.allSettled(keys.map((key, i) => producer.send({ key: `k${key}`, value: `${i}` })))
        const all = await stored()
        expectOrdered(all)
        expect(new Set(all.map(({ value }) => value)).size).toBe(all.length)
        for (const [i, result] of results.entries()) {
          if (result.status !== 'fulfilled') continue
          const found = all.find(({ value }) => value === `${i}`)
          expect(found).toMatchObject({ partition: result.value.partition, offset: result.value.offset })
        }
        await cluster.close()
      }),
      { numRuns: 25 },
    )
  })

  it('one bad partition holds up no other', async () => {
    const { broker, cluster } = await setup()
    const fault = broker.faults.inject({ at: 'produce', of: 't/0', reaction: 'retry', times: Infinity })
    const producer = cluster.producer({ topic: 't', maxInFlightBytes: 4_000 })
    const bad = Array.from({ length: 100 }, (_, i) => producer.send({ partition: 0, value: `${i}`.padStart(100) }))
    for (let i = 0; i < 20; i++) await producer.send({ partition: 1, value: `${i}`.padStart(100) })
    expect(producer.stats).toMatchObject({ written: 20, pending: 100 })
    expect(producer.stats.bytes).toBeLessThan(4_000)
    fault.remove()
    expect((await Promise.all(bad)).map(({ offset }) => offset)).toEqual(Array.from({ length: 100 }, (_, i) => i))
    await cluster.close()
  })

  it('takes no more from an iterable than there is room for', async () => {
    const { broker, cluster } = await setup(1)
    const fault = broker.faults.inject({ at: 'produce', reaction: 'retry', times: Infinity })
    const producer = cluster.producer({ topic: 't', maxInFlightBytes: 4_000 })
    let made = 0
    function* records(): Generator<ProducerRecord> {
      while (made < 500) yield { value: `${made++}`.padStart(100) }
    }
    const sent = producer.sendBatch(records())
    while (fault.hits === 0) await new Promise(setImmediate)
    expect(made).toBeLessThan(50)
    fault.remove()
    expect(await sent).toHaveLength(500)
    await cluster.close()
  })

  it('takes no more than a thousand from an iterable before the topic is known, and half of the bytes in flight', async () => {
    for (const [size, most] of [
      [1, 1_000],
      [1_000, 65],
    ] as const) {
      const { broker, cluster, stored } = await setup(1)
      const fault = broker.faults.inject({ at: 'init', delayMs: 20 })
      const producer = cluster.producer({ topic: 't', maxInFlightBytes: 128 * 1024 })
      let made = 0
      function* records(): Generator<ProducerRecord> {
        while (made < 3_000) yield { value: `${made++}`.padStart(size) }
      }
      const sent = producer.sendBatch(records())
      while (fault.hits === 0) await new Promise(setImmediate)
      expect(made).toBeLessThanOrEqual(most)
      expect(await sent).toHaveLength(3_000)
      expect((await stored()).map(({ value }) => Number(value))).toEqual(Array.from({ length: 3_000 }, (_, i) => i))
      await cluster.close()
    }
  })

  it('a record that cannot be written is refused by its place; the others are written', async () => {
    const { cluster, stored } = await setup()
    const producer = cluster.producer({ topic: 't' })
    const ok = producer.send({ value: 'ok' })
    await expect(producer.send({ value: { a: 1 } as never })).rejects.toThrow(/send: the record: its value is .*Object.*value: json\(\)/)
    await expect(producer.send({ value: 'x', partition: 9 })).rejects.toThrow(/partition 9 does not exist, 't' has 3/)
    await expect(producer.sendBatch([{ value: 'a' }, { value: 'x'.repeat(2_000_000) }, { value: 'b' }])).rejects.toThrow(
      /^sendBatch: record 1 takes 20000\d\d bytes, more than 't' takes \(max\.message\.bytes=1048588\)/,
    )
    await expect(producer.send({ topic: 'nowhere', value: 'x' })).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
    await expect(cluster.producer().send({ value: 'x' })).rejects.toThrow(/names no topic/)
    await ok
    expect((await stored()).map(({ value }) => value).sort()).toEqual(['a', 'b', 'ok'])
    expect(() => cluster.producer({ lingr: 5 } as never)).toThrow(/unknown option 'lingr'/)
    await cluster.close()
  })

  it('gives a record up when its time is over, and goes on without doubling or losing what comes next', async () => {
    const { broker, cluster, stored } = await setup(1)
    broker.faults.inject({ at: 'produce', reaction: 'retry', tookEffect: true })
    const producer = cluster.producer({ topic: 't', deliveryTimeout: 1 })
    await expect(producer.send({ value: 'a' })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await producer.send({ value: 'b' })
    expect((await stored()).map(({ value }) => value)).toEqual(['a', 'b'])
    await cluster.close()
  })

  it('closing flushes what lingers, by the signal, by the cluster and by the end of a block', async () => {
    const { cluster, stored } = await setup()
    const stop = new AbortController()
    const producers = [cluster.producer({ topic: 't', linger: '1h', signal: stop.signal }), cluster.producer({ topic: 't', linger: '1h' })]
    const sent = producers.map((producer) => producer.send({ value: 'late' }))
    stop.abort()
    await sent[0]
    await expect(producers[0]?.send({ value: 'x' })).rejects.toMatchObject({ code: 'CLOSED' })
    {
      await using third = cluster.producer({ topic: 't', linger: '1h' })
      sent.push(third.send({ value: 'late' }))
    }
    expect(await stored()).toHaveLength(2)
    await cluster.close()
    await Promise.all(sent)
  })

  it('a transaction is there whole, or not at all', async () => {
    const { cluster, stored } = await setup()
    const producer = cluster.producer({ topic: 't' })
    const result = await producer.transaction(async (tx) => {
      void tx.send({ key: 'a', value: '1' })
      await tx.send({ key: 'a', value: '2' })
      return 'done'
    })
    expect(result).toBe('done')
    const failing = producer.transaction((tx) => {
      void tx.send({ key: 'a', value: 'never' })
      throw new Error('no')
    })
    const next = producer.transaction((tx) => tx.send({ key: 'a', value: '3' }))
    await expect(failing).rejects.toThrow('no')
    await next
    await expect(producer.transaction((tx) => void tx.send({ value: 5 as never }))).rejects.toThrow(/transaction: record 0: its value/)
    expect((await stored()).map(({ value }) => value)).toEqual(['1', '2', '3'])
    await cluster.close()
  })

  it('a serde that answers later keeps the order', async () => {
    const { cluster, stored } = await setup(1)
    const value = {
      name: 'slow',
      encode: (n: number): string | Promise<string> =>
        n % 2 === 0 ? new Promise((resolve) => setImmediate(() => resolve(`${n}`))) : `${n}`,
    }
    const producer = cluster.producer({ topic: 't', value })
    await Promise.all([0, 1, 2, 3, 4, 5].map((n) => producer.send({ value: n })))
    expect((await stored()).map((one) => one.value)).toEqual(['0', '1', '2', '3', '4', '5'])
    await cluster.close()
  })
})

/** Values are numbers in the order they were sent. */
function expectOrdered(all: readonly { key: string; value: string }[]): void {
  const last = new Map<string, number>()
  for (const { key, value } of all) {
    expect(Number(value)).toBeGreaterThan(last.get(key) ?? -1)
    last.set(key, Number(value))
  }
}
