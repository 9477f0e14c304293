import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Cluster } from '../../../src/kafka/cluster.js'
import type { FetchRequest, FetchResponse } from '../../../src/kafka/protocol/fetch.js'
import { KafkaReader } from '../../../src/kafka/reader.js'
import { AT, writeInt64 } from '../../../src/log/batch/header.js'
import { BatchWriter, stampBatch, type OutputBatch } from '../../../src/log/batch/write.js'
import { silentLogger } from '../../../src/record/logger.js'

function batchAt(offset: number): Buffer {
  const writer = new BatchWriter('t', 0, 1024)
  writer.append(null, 'x'.repeat(50), {}, 1)
  const [batch] = writer.take(true)
  const stamp = { producerId: -1n, producerEpoch: -1, baseSequence: -1, transactional: false, compression: 0 }
  const bytes = stampBatch(batch as OutputBatch, stamp)
  writeInt64(bytes, AT.baseOffset, offset)
  return bytes
}

/** A cluster of one broker, in this process, that answers every fetch after a millisecond. */
class OneBroker {
  fetches = 0
  leaderLooks = 0
  /** What the client knows, and which election made the broker leader. */
  knownEpoch = 0
  epoch = 0

  constructor(private readonly records: (partition: number, offset: number) => { readonly bytes: Buffer; readonly end: number }) {}

  reader(onData: (reader: KafkaReader) => void, prefetchBytes = 1024 * 1024): KafkaReader {
    const send = async (_address: unknown, _api: unknown, { partitions }: FetchRequest): Promise<FetchResponse> => {
      this.fetches++
      await new Promise((resolve) => setTimeout(resolve, 1))
      const answers = partitions.map(({ topic, partition, offset, leaderEpoch }) => {
        const error = leaderEpoch < this.epoch ? 74 : leaderEpoch > this.epoch ? 75 : 0
        const { bytes, end } = error === 0 ? this.records(partition, offset) : { bytes: Buffer.alloc(0), end: -1 }
        return { topic, partition, error, highWatermark: end, lastStableOffset: end, aborted: [], records: bytes }
      })
      return { throttleMs: 0, error: 0, partitions: answers }
    }
    const cluster = {
      lane: () => ({ send }),
      closeLane: () => {},
      leader: () => {
        this.leaderLooks++
        return 1
      },
      leaderEpoch: () => this.knownEpoch,
      refresh: async () => {
        this.knownEpoch = 5
      },
      addressOf: () => ({ host: 'localhost', port: 1 }),
      forgetLeader: () => {},
      requestTimeoutMs: 30_000,
      logger: silentLogger,
    }
    const reader: KafkaReader = new KafkaReader(
      cluster as unknown as Cluster,
      { isolation: 'read_committed', prefetchBytes, onData: () => onData(reader) },
      () => {},
    )
    return reader
  }
}

describe('the reader', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it.each([
    ['is damaged', (bytes: Buffer) => void (bytes[65] = (bytes[65] as number) ^ 1)],
    ['claims to be longer than the answer', (bytes: Buffer) => void bytes.writeInt32BE(1_000_000, AT.batchLength)],
    ['is of an old format', (bytes: Buffer) => void bytes.writeInt8(1, AT.magic)],
  ])('fetches a batch that %s again at growing pauses, and not in a loop', async (_how, spoil) => {
    const bad = batchAt(0)
    spoil(bad)
    const broker = new OneBroker(() => ({ bytes: bad, end: 5 }))
    const errors: unknown[] = []
    const reader = broker.reader((it) => {
      try {
        it.take('t', 0)
      } catch (error) {
        errors.push(error)
      }
    })
    reader.assign([{ topic: 't', partition: 0, offset: 0 }])
    await vi.advanceTimersByTimeAsync(60_000)
    expect(errors.length).toBeGreaterThan(5)
    expect(errors[0]).toMatchObject({ reaction: 'retry', origin: { topic: 't', partition: 0, offset: 0 } })
    expect(broker.fetches).toBe(errors.length)
    expect(broker.fetches).toBeLessThan(25)
    reader.close()
  })

  it('looks at its partitions once a turn, however many of them are taken from', async () => {
    const looks = async (count: number): Promise<number> => {
      const broker = new OneBroker((_partition, offset) => ({ bytes: batchAt(offset), end: 1_000 }))
      // Room for one batch of each: every take is one that makes room.
      const reader = broker.reader(() => {}, count * 100)
      reader.assign(Array.from({ length: count }, (_, partition) => ({ topic: 't', partition, offset: 0 })))
      await vi.advanceTimersByTimeAsync(100)
      const before = broker.leaderLooks
      for (let partition = 0; partition < count; partition++) expect(reader.take('t', partition)).toBeDefined()
      await vi.advanceTimersByTimeAsync(0)
      const looked = broker.leaderLooks - before
      reader.close()
      return looked
    }
    expect(await looks(400)).toBeLessThan(400 * 4)
  })

  it('names the election that made its leader one: after another it looks the leader up, and waits for one that is yet to hear of it', async () => {
    const broker = new OneBroker((_partition, offset) => ({ bytes: offset === 0 ? batchAt(0) : Buffer.alloc(0), end: 1 }))
    const errors: unknown[] = []
    let taken = 0
    const reader = broker.reader((it) => {
      try {
        while (it.take('t', 0) !== undefined) taken++
      } catch (error) {
        errors.push(error)
      }
    })
    // FENCED_LEADER_EPOCH: there was an election that the client has not heard of.
    broker.knownEpoch = 4
    broker.epoch = 5
    reader.assign([{ topic: 't', partition: 0, offset: 0 }])
    await vi.advanceTimersByTimeAsync(5_000)
    expect([taken, errors, broker.knownEpoch]).toEqual([1, [], 5])
    // UNKNOWN_LEADER_EPOCH: the broker was deposed, or has not heard yet that it was not.
    broker.epoch = 4
    reader.assign([{ topic: 't', partition: 0, offset: 0 }])
    await vi.advanceTimersByTimeAsync(5_000)
    expect([taken, errors]).toEqual([1, []])
    broker.epoch = 5
    await vi.advanceTimersByTimeAsync(5_000)
    expect([taken, errors]).toEqual([2, []])
    reader.close()
  })
})
