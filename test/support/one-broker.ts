import type { Cluster } from '../../src/kafka/cluster.js'
import type { FetchRequest, FetchResponse } from '../../src/kafka/protocol/fetch.js'
import { KafkaReader } from '../../src/kafka/reader.js'
import { AT, writeInt64 } from '../../src/log/batch/header.js'
import { BatchWriter, stampBatch, type OutputBatch } from '../../src/log/batch/write.js'
import type { Divergence } from '../../src/log/leader-epochs.js'
import { silentLogger } from '../../src/record/logger.js'
import { BrokerSessions } from './fetch-sessions.js'

/** A batch of one record. */
export function batchAt(offset: number, leaderEpoch = -1, valueBytes = 50): Buffer {
  const writer = new BatchWriter('t', 0, 1024)
  writer.append(null, 'x'.repeat(valueBytes), {}, 1)
  const [batch] = writer.take(true)
  const stamp = { producerId: -1n, producerEpoch: -1, baseSequence: -1, transactional: false, compression: 0 }
  const bytes = stampBatch(batch as OutputBatch, stamp)
  writeInt64(bytes, AT.baseOffset, offset)
  bytes.writeInt32BE(leaderEpoch, AT.leaderEpoch)
  return bytes
}

/** A cluster of one broker, in this process, that answers every fetch after a while. */
export class OneBroker {
  fetches = 0
  readonly requests: FetchRequest[] = []
  answersAfterMs = 1
  readonly sessions = new BrokerSessions()
  /** Which broker leads all partitions, and which were asked, in turn. */
  node = 1
  readonly asked: number[] = []
  leaderLooks = 0
  leaderChanges = 0
  /** What the client knows, and which election made the broker leader. */
  knownEpoch = 0
  epoch = 0
  /** Whether the log parts from what was fetched. */
  divergence: (offset: number, lastFetchedEpoch: number) => Divergence | undefined = () => undefined

  constructor(
    private readonly records: (partition: number, offset: number, maxBytes: number) => { readonly bytes: Buffer; readonly end: number },
  ) {}

  reader(onData: (reader: KafkaReader) => void, prefetchBytes = 1024 * 1024): KafkaReader {
    const send = async ({ port }: { readonly port: number }, _api: unknown, request: FetchRequest): Promise<FetchResponse> => {
      this.fetches++
      this.asked.push(port)
      this.requests.push(request)
      await new Promise((resolve) => setTimeout(resolve, this.answersAfterMs))
      return this.sessions.answer(request, ({ topic, partition, offset, leaderEpoch, lastFetchedEpoch, maxBytes }) => {
        const error = leaderEpoch < this.epoch ? 74 : leaderEpoch > this.epoch ? 75 : 0
        const { bytes, end } = error === 0 ? this.records(partition, offset, maxBytes) : { bytes: Buffer.alloc(0), end: -1 }
        const diverging = this.divergence(offset, lastFetchedEpoch)
        const records = diverging === undefined ? bytes : Buffer.alloc(0)
        return { topic, partition, error, highWatermark: end, lastStableOffset: end, aborted: [], records, diverging }
      })
    }
    const broker = this
    const cluster = {
      lane: () => ({ send }),
      request: send,
      closeLane: () => {},
      leader: () => {
        this.leaderLooks++
        return this.node
      },
      leaderEpoch: () => this.knownEpoch,
      get leadersVersion(): number {
        return broker.leaderChanges
      },
      bestVersion: (_: number, wanted: number[]) => wanted.at(-1),
      refresh: async () => {
        this.knownEpoch = 5
        this.leaderChanges++
      },
      addressOf: (node: number) => ({ host: 'localhost', port: node }),
      forgetLeader: () => {
        this.leaderChanges++
      },
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
