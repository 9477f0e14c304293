import { mergeMap } from 'rxjs'
import { afterEach, describe, expect, it, vi, type MockInstance } from 'vitest'
import { read } from '../../src/cluster/read.js'
import { EmbeddedReader } from '../../src/embedded/reader.js'
import { toTopic, withTransaction } from '../../src/index.js'
import type { LogClient, LogProducer } from '../../src/log/port.js'
import { silentLogger } from '../../src/record/logger.js'
import { json } from '../../src/record/serde.js'
import type { TopicOutput } from '../../src/runtime/outputs.js'
import { Standbys } from '../../src/runtime/standbys.js'
import { Task } from '../../src/runtime/task.js'
import { memoryStore } from '../../src/state/memory-store.js'
import { restore } from '../../src/state/restore.js'
import { stateHeader } from '../../src/state/state-header.js'
import { BatchWriter } from '../../src/log/batch/write.js'
import { VirtualClock, createEmbeddedBroker, createTestKit } from '../../src/testing/index.js'
import { newTopic, producer } from '../contract/support.js'

const NEWS = 20
const [FEW, MANY] = [8, 200] as const
const spec = memoryStore<number>({ name: 's', kind: 'test', version: 1, serde: json<number>(), timed: false })

/** How often partitions are looked at, beyond once each. */
async function looksOf(partitions: number, run: (partitions: number) => Promise<void>): Promise<number> {
  const take = vi.spyOn(EmbeddedReader.prototype, 'take')
  await run(partitions)
  const looks = take.mock.calls.length - partitions
  take.mockRestore()
  return looks
}

/** What reads many partitions of which one has news, again and again. */
describe('the work of a reader does not grow with the partitions that have no news', () => {
  afterEach(() => vi.restoreAllMocks())

  const batch = (topic: string, partition: number, value = '1') => {
    const writer = new BatchWriter(topic, partition, 1024)
    writer.append('k', value, stateHeader(spec), 0)
    return writer.take(true)
  }
  /** One has much to read; of the others nothing can be read until what is returned is called. */
  const fill = async (log: LogClient, topic: string, partitions: number): Promise<() => Promise<void>> => {
    const open: LogProducer = await producer(log, 'open', { transactionTimeoutMs: 600_000 })
    for (let partition = 1; partition < partitions; partition++) await open.send(batch(topic, partition))
    const sender = await producer(log, undefined)
    for (let i = 0; i < NEWS; i++) await sender.send(batch(topic, 0))
    return () => open.commit([], undefined)
  }

  it('of a store that is restored', async () => {
    const run = async (partitions: number): Promise<void> => {
      const clock = new VirtualClock()
      const log = createEmbeddedBroker({ clock }).client()
      const topic = await newTopic(log, partitions)
      const release = await fill(log, topic, partitions)
      const stores = Array.from({ length: partitions }, (_, partition) => ({ spec, store: spec.create(), topic, partition }))
      const restored = restore(stores, { log, clock, logger: silentLogger, cancelled: () => false })
      await clock.advance('5s')
      const looks = vi.mocked(EmbeddedReader.prototype.take).mock.calls.length
      expect(looks).toBeLessThan(3 * partitions + 3 * NEWS)
      await release()
      await clock.advance('1s')
      expect(await restored).toBe(true)
    }
    for (const partitions of [FEW, MANY]) await looksOf(partitions, run)
  })

  it('of cluster.read', async () => {
    for (const partitions of [FEW, MANY]) {
      await looksOf(partitions, async () => {
        const broker = createEmbeddedBroker()
        const log = broker.client()
        const topic = await newTopic(log, partitions)
        const release = await fill(log, topic, partitions)
        let records = 0
        for await (const _ of read(async () => broker.client(), { topic })) {
          if (++records < NEWS) continue
          if (records === NEWS) {
            expect(vi.mocked(EmbeddedReader.prototype.take).mock.calls.length).toBeLessThan(3 * partitions + 3 * NEWS)
            await release()
          }
        }
        expect(records).toBe(NEWS + partitions - 1)
      })
    }
  })

  it('of warm copies', async () => {
    const run = async (partitions: number): Promise<void> => {
      const clock = new VirtualClock()
      const log = createEmbeddedBroker({ clock }).client()
      const topic = await newTopic(log, partitions)
      const standbys = new Standbys(log, [{ spec, changelog: { topic } as TopicOutput }], clock, silentLogger)
      await standbys.keep(Array.from({ length: partitions }, (_, task) => task))
      const sender = await producer(log, undefined)
      for (let i = 0; i < NEWS; i++) {
        await sender.send(batch(topic, 0))
        await clock.advance('1s')
      }
      expect(standbys.take(0)?.restoring).toMatchObject([{ reached: NEWS }])
      standbys.close()
    }
    const few = await looksOf(FEW, run)
    expect(await looksOf(MANY, run)).toBe(few)
  })

  it('of a source without withTransaction', async () => {
    const run = async (partitions: number): Promise<void> => {
      const kit = await createTestKit({ topics: { in: { partitions } } })
      let seen = 0
      const subscription = kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(mergeMap((partition) => partition))
        .subscribe(() => seen++)
      await kit.advance('1s')
      for (let i = 0; i < NEWS; i++) {
        await kit.feed('in', { value: 'v', partition: 3 })
        await kit.advance('50ms')
      }
      expect(seen).toBe(NEWS)
      subscription.unsubscribe()
      await kit.advance('1s')
      await kit.stop()
    }
    const few = await looksOf(FEW, run)
    expect(await looksOf(MANY, run)).toBe(few)
  })

  it('of the embedded log, which fetches what was written', async () => {
    const fetched = async (partitions: number): Promise<number> => {
      const kit = await createTestKit({ topics: { in: { partitions }, out: { partitions: 1 } } })
      kit.run(
        kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))),
      )
      await kit.advance('1s')
      const fetch: MockInstance = vi.spyOn(EmbeddedReader.prototype as unknown as { fetch(): boolean }, 'fetch')
      for (let i = 0; i < NEWS; i++) {
        await kit.feed('in', { value: 'v', partition: 3 })
        await kit.advance('200ms')
      }
      const count = fetch.mock.calls.length
      await kit.stop()
      fetch.mockRestore()
      return count
    }
    const few = await fetched(FEW)
    expect(await fetched(MANY)).toBe(few)
  })

  it('of a transaction that is undone', async () => {
    const undone = async (partitions: number): Promise<number> => {
      const kit = await createTestKit({ topics: { in: { partitions }, out: { partitions: 1 } } })
      const member = kit.run(
        kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))),
      )
      await kit.feed('in', { value: 'v', partition: 0 })
      await kit.advance('1s')
      const rollback = vi.spyOn(Task.prototype, 'rollback')
      kit.broker.faults.inject({ at: 'offsets', reaction: 'abort' })
      await kit.feed('in', { value: 'v', partition: 3 })
      await kit.advance('5s')
      const count = rollback.mock.calls.length
      expect(member.commits.reduce((sum, { records }) => sum + records, 0)).toBe(2)
      expect(await kit.read('out')).toHaveLength(2)
      await kit.stop()
      rollback.mockRestore()
      return count
    }
    const few = await undone(FEW)
    expect(few).toBeGreaterThan(0)
    expect(await undone(MANY)).toBe(few)
  })
})
