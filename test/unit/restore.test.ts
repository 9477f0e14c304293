import { describe, expect, it } from 'vitest'
import { BatchWriter, type OutputBatch } from '../../src/log/batch/write.js'
import type { LogClient } from '../../src/log/port.js'
import { silentLogger } from '../../src/record/logger.js'
import { json } from '../../src/record/serde.js'
import { memoryStore, type MemoryStore } from '../../src/state/memory-store.js'
import { restore, type RestoreProgress } from '../../src/state/restore.js'
import { stateHeader } from '../../src/state/state-header.js'
import { VirtualClock, createEmbeddedBroker } from '../../src/testing/index.js'
import { newTopic, producer } from '../contract/support.js'

const spec = memoryStore<number>({ name: 's', kind: 'test', version: 1, serde: json<number>(), timed: false })

function changes(topic: string, of: Record<string, number | null>): OutputBatch {
  const writer = new BatchWriter(topic, 0, 1024 * 1024)
  for (const [key, value] of Object.entries(of)) writer.append(key, value === null ? null : String(value), stateHeader(spec), 0)
  return writer.take(true)[0] as OutputBatch
}

describe('restoring a store', () => {
  const clock = new VirtualClock()
  const log: LogClient = createEmbeddedBroker({ clock }).client()

  const begin = (topic: string, cancelled = (): boolean => false) => {
    const store: MemoryStore<number> = spec.create()
    const progress: RestoreProgress[] = []
    const run = restore([{ spec, store, topic, partition: 0 }], {
      log,
      clock,
      logger: silentLogger,
      cancelled,
      onProgress: (one) => progress.push(one),
    })
    return { run, progress, content: () => Object.fromEntries([...store].map(([key, value]) => [key, value])) }
  }

  it('takes the last value of each key, passes tombstones, aborted transactions and trailing control records', async () => {
    const topic = await newTopic(log)
    const one = await producer(log, 'restore-one')
    await one.send([changes(topic, { a: 1, b: 2, c: 3 })])
    await one.commit([], undefined)
    await one.send([changes(topic, { a: 99, d: 99 })])
    await one.abort()
    await one.send([changes(topic, { b: null, c: 4 })])
    await one.commit([], undefined)
    const { run, content, progress } = begin(topic)
    expect(await run).toBe(true)
    expect(content()).toEqual({ a: 1, c: 4 })
    expect(progress.at(-1)).toEqual({ records: 5, offsets: 10, total: 10 })
  })

  it.each([
    ['commits', { a: 1, b: 2 }],
    ['aborts', { a: 1 }],
  ] as const)('goes on to the high watermark: a transaction that is open is waited out until it %s', async (how, expected) => {
    const topic = await newTopic(log)
    const one = await producer(log, `waited-${how}-1`)
    await one.send([changes(topic, { a: 1 })])
    await one.commit([], undefined)
    const other = await producer(log, `waited-${how}-2`, { transactionTimeoutMs: 600_000 })
    await other.send([changes(topic, { b: 2 })])
    const { run, content } = begin(topic)
    let ended = false
    void run.then(() => (ended = true))
    await clock.advance('1m')
    expect(ended).toBe(false)
    await (how === 'commits' ? other.commit([], undefined) : other.abort())
    await clock.advance('1s')
    expect(await run).toBe(true)
    expect(content()).toEqual(expected)
  })

  it('is noticed above where it stops at the last stable offset', async () => {
    // The deliberately broken variant: the end that a reader of committed records sees.
    const broken: LogClient = Object.create(log, {
      offsets: { value: (at: never, of: string) => log.offsets(at, of === 'latest' ? 'stable' : 'earliest') },
    }) as LogClient
    const topic = await newTopic(log)
    const other = await producer(log, 'broken', { transactionTimeoutMs: 600_000 })
    await other.send([changes(topic, { b: 2 })])
    const store = spec.create()
    expect(
      await restore([{ spec, store, topic, partition: 0 }], { log: broken, clock, logger: silentLogger, cancelled: () => false }),
    ).toBe(true)
    await other.commit([], undefined)
    expect([...store]).toEqual([])
  })

  it('ends when it is no longer wanted', async () => {
    const topic = await newTopic(log)
    const other = await producer(log, 'cancelled', { transactionTimeoutMs: 600_000 })
    await other.send([changes(topic, { b: 2 })])
    let wanted = true
    const { run } = begin(topic, () => !wanted)
    await clock.advance('1s')
    wanted = false
    await clock.advance('1s')
    expect(await run).toBe(false)
    await other.abort()
  })

  it('refuses what other programs wrote there', async () => {
    const topic = await newTopic(log)
    const one = await producer(log, 'foreign')
    const writer = new BatchWriter(topic, 0, 1024)
    writer.append('a', '1', {}, 0)
    await one.send(writer.take(true))
    await one.commit([], undefined)
    await expect(begin(topic).run).rejects.toMatchObject({
      code: 'STATE_MISMATCH',
      message: expect.stringContaining('without a state header') as string,
    })
    const damaged = await newTopic(log)
    const bad = new BatchWriter(damaged, 0, 1024)
    bad.append('a', '{', stateHeader(spec), 0)
    await one.send(bad.take(true))
    await one.commit([], undefined)
    await expect(begin(damaged).run).rejects.toMatchObject({ code: 'CORRUPT_STATE', origin: { topic: damaged, partition: 0, offset: 0 } })
  })

  it('a copy that was read to the end of a log which lost some of it since is of no use, also where the log has that end again', async () => {
    const broker = createEmbeddedBroker({ clock })
    const own = broker.client()
    const topic = await newTopic(own)
    const sender = await producer(own, undefined)
    for (const key of ['a', 'b', 'c']) await sender.send([changes(topic, { [key]: 1 })])
    const copy = (reached: number, reachedEpoch?: number) => {
      const part = { spec, store: spec.create(), topic, partition: 0, reached, ...(reachedEpoch === undefined ? {} : { reachedEpoch }) }
      return restore([part], { log: own, clock, logger: silentLogger, cancelled: () => false })
    }
    expect(await copy(3, 0)).toBe(true)
    broker.electUncleanly({ topic, partition: 0, offset: 2 })
    await (await producer(own, undefined)).send([changes(topic, { d: 1 })])
    await expect(copy(3, 0)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', reaction: 'retry' })
    expect([await copy(3, 1), await copy(2, 0), await copy(3)]).toEqual([true, true, true])
  })
})
