import { describe, expect, it } from 'vitest'
import { BatchWriter } from '../../src/log/batch/write.js'
import { silentLogger } from '../../src/record/logger.js'
import { json } from '../../src/record/serde.js'
import type { TopicOutput } from '../../src/runtime/outputs.js'
import { Standbys } from '../../src/runtime/standbys.js'
import { memoryStore, type MemoryStore } from '../../src/state/memory-store.js'
import { stateHeader } from '../../src/state/state-header.js'
import { VirtualClock, createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { newTopic, producer } from '../contract/support.js'

describe('a warm copy', () => {
  it.each([
    [
      'no longer holds what comes next',
      (broker: EmbeddedBroker, topic: string) => broker.truncate({ topic, partition: 0, offset: 3 }),
      ['d'],
    ],
    [
      'lost the end of what was read',
      (broker: EmbeddedBroker, topic: string) => broker.electUncleanly({ topic, partition: 0, offset: 1 }),
      ['a', 'e', 'f', 'g'],
    ],
  ])('is read again from the beginning where the log %s', async (_how, spoil, keys) => {
    const clock = new VirtualClock()
    const broker = createEmbeddedBroker({ clock })
    const log = broker.client()
    const topic = await newTopic(log)
    const spec = memoryStore<number>({ name: 's', kind: 'test', version: 1, serde: json<number>(), timed: false })
    const write = async (...keys: string[]): Promise<void> => {
      const sender = await producer(log, undefined)
      for (const key of keys) {
        const writer = new BatchWriter(topic, 0, 1024)
        writer.append(key, '1', stateHeader(spec), 0)
        await sender.send(writer.take(true))
      }
    }
    const standbys = new Standbys(log, [{ spec, changelog: { topic } as TopicOutput }], clock, silentLogger)
    await write('a', 'b')
    await standbys.keep([0])
    await clock.advance('1s')
    broker.pause(topic)
    await write('c', 'd')
    spoil(broker, topic)
    if (keys.length > 1) await write('e', 'f', 'g')
    broker.resume(topic)
    await clock.advance('5s')
    const state = standbys.take(0)
    standbys.close()
    expect([...(state?.find('s') as MemoryStore<number>)].map(([key]) => String(key))).toEqual(keys)
    expect(state?.restoring).toMatchObject([{ reached: 4 }])
  })
})
