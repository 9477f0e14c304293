import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Api, Throttled } from '../../src/kafka/protocol/api.js'
import { ApiVersions } from '../../src/kafka/protocol/api-versions.js'
import { CreateTopics } from '../../src/kafka/protocol/create-topics.js'
import { DescribeConfigs } from '../../src/kafka/protocol/describe-configs.js'
import { Fetch, FetchWithoutEpoch } from '../../src/kafka/protocol/fetch.js'
import { FindCoordinator } from '../../src/kafka/protocol/find-coordinator.js'
import { JoinGroup } from '../../src/kafka/protocol/join-group.js'
import { ListOffsets } from '../../src/kafka/protocol/list-offsets.js'
import { Metadata } from '../../src/kafka/protocol/metadata.js'
import { OffsetFetch } from '../../src/kafka/protocol/offset-fetch.js'
import { Produce } from '../../src/kafka/protocol/produce.js'
import { Reader } from '../../src/kafka/protocol/reader.js'
import { SyncGroup } from '../../src/kafka/protocol/sync-group.js'
import { TxnOffsetCommit } from '../../src/kafka/protocol/txn-offset-commit.js'
import { Writer } from '../../src/kafka/protocol/writer.js'
import { builtInCodecs } from '../../src/log/batch/compression.js'
import { AT, batchCrc } from '../../src/log/batch/header.js'
import { BatchReader, batchSource } from '../../src/log/batch/read.js'
import { BatchWriter, stampBatch, type OutputBatch } from '../../src/log/batch/write.js'
import { FetchQueue } from '../../src/log/fetch-queue.js'
import { MillraceError } from '../../src/record/error.js'
import { encodeHeaders, findHeader, readHeaders, replaceHeaders } from '../../src/record/headers.js'

/** A change of a byte, a cut, or numbers that mean much: lengths and counts. */
const mutation = fc.oneof(
  fc.record({ at: fc.nat(), byte: fc.nat(255) }),
  fc.record({ at: fc.nat(), int: fc.constantFrom(-1, -2, 0, 0x7fff_ffff, -0x8000_0000, 1_000_000, 0x7fff) }),
  fc.record({ at: fc.nat(), cut: fc.constant(true) }),
)
const mutations = fc.array(mutation, { minLength: 1, maxLength: 6 })

function mutated(bytes: Buffer, changes: readonly (typeof mutation extends fc.Arbitrary<infer M> ? M : never)[], from = 0): Buffer {
  let out = Buffer.from(bytes)
  for (const change of changes) {
    if (out.length <= from) break
    const at = from + (change.at % (out.length - from))
    if ('byte' in change) out[at] = change.byte
    else if ('cut' in change) out = out.subarray(0, at)
    else if (at + 4 <= out.length) out.writeInt32BE(change.int, at)
  }
  return out
}

/** What a record holds, in bytes and headers; all of it is looked at. */
function weigh(bytes: Buffer, fromOffset = 0): number {
  const queue = new FetchQueue(
    { topic: 't', partition: 0, offset: fromOffset },
    { codecs: builtInCodecs, inflateBytes: () => 0, changed: () => {} },
  )
  queue.accept({ batches: [bytes], aborted: [], end: 1_000 })
  let weight = 0
  const noting = (look: () => void): void => {
    try {
      look()
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
    }
  }
  for (let going = true; going;) {
    noting(() => {
      const fetched = queue.take()
      going = fetched !== undefined || queue.failed
      if (fetched?.batch === undefined) return
      const reader = new BatchReader(fetched.batch, batchSource('t', 0, fetched.batch), fetched.fromOffset)
      for (let record = reader.next(0); record !== undefined; record = reader.next(0)) {
        weight++
        const { id } = record
        noting(() => (weight += record.key?.length ?? 0))
        noting(() => (weight += record.value?.length ?? 0))
        noting(() => {
          for (const [name, value] of Object.entries(record.headers)) {
            expect(id).toBeDefined()
            weight += name.length
            for (const one of Array.isArray(value) ? (value as readonly (Buffer | null)[]) : [value as Buffer | null])
              weight += 1 + (one?.length ?? 0)
          }
        })
      }
    })
  }
  return weight
}

describe('whatever bytes come as records', () => {
  const writer = new BatchWriter('t', 0, 400)
  for (let i = 0; i < 8; i++)
    writer.append(`key ${i}`, 'v'.repeat(i * 20), i % 2 === 0 ? { a: 'b', c: ['1', '2', null] } : {}, 1_700_000_000_000 + i)
  const stamp = { producerId: 7n, producerEpoch: 1, baseSequence: 0, transactional: true, compression: 0 }
  const real = writer.take(true).map((batch: OutputBatch) => stampBatch(batch, stamp))

  it('they end in values or errors of millrace, and take no more than their length', () => {
    fc.assert(
      fc.property(mutations, fc.boolean(), (changes, stamped) => {
        // With a CRC that is right the records themselves are what is wrong.
        const first = mutated(real[0] as Buffer, changes, stamped ? AT.attributes : 0)
        if (stamped && first.length >= AT.records) {
          first.writeInt32BE(first.length - 12, AT.batchLength)
          first.writeUInt32BE(batchCrc(first), AT.crc)
        }
        const bytes = Buffer.concat([first, ...real.slice(1)])
        expect(weigh(bytes)).toBeLessThanOrEqual(2 * bytes.length)
      }),
      { numRuns: 3_000 },
    )
  })

  it('so do bytes of any kind', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(weigh(Buffer.from(bytes))).toBeLessThanOrEqual(2 * bytes.length)
      }),
      { numRuns: 500 },
    )
  })

  it('headers end within their record', () => {
    const section = encodeHeaders({ one: 'a', two: ['b', null, 'cc'], '': '' })
    fc.assert(
      fc.property(mutations, (changes) => {
        const bytes = mutated(section, changes)
        for (const look of [
          () => readHeaders(bytes, 0),
          () => findHeader(bytes, 0, Buffer.from('two')),
          () => replaceHeaders(bytes, 0, new Set(['one']), { three: 'd' }),
        ]) {
          try {
            look()
          } catch (error) {
            expect(error).toBeInstanceOf(MillraceError)
          }
        }
      }),
      { numRuns: 3_000 },
    )
  })
})

describe('many headers of one name', () => {
  const iterate = Array.prototype[Symbol.iterator]

  afterEach(() => void (Array.prototype[Symbol.iterator] = iterate))

  it('are each taken up once', () => {
    const count = 2_000
    const bytes = encodeHeaders({ same: Array.from({ length: count }, (_, i) => `${i}`) })
    let copied = 0

    Array.prototype[Symbol.iterator] = function (this: unknown[]) {
      copied += this.length
      return iterate.call(this)
    } as typeof iterate
    const { same } = readHeaders(bytes, 0)
    Array.prototype[Symbol.iterator] = iterate
    expect([(same as readonly unknown[]).length, copied]).toEqual([count, 0])
  })
})

const APIS: readonly Api<never, Throttled>[] = [
  ApiVersions,
  CreateTopics,
  DescribeConfigs,
  Fetch,
  FetchWithoutEpoch,
  FindCoordinator,
  JoinGroup,
  ListOffsets,
  Metadata,
  OffsetFetch,
  Produce,
  SyncGroup,
  TxnOffsetCommit,
] as never

describe('whatever a broker answers', () => {
  afterEach(() => void vi.restoreAllMocks())

  it.each(APIS.map((api) => [api.name, api] as const))(
    '%s ends in a value or in the end of the bytes, in steps as many as there are bytes',
    (_name, api) => {
      const steps = vi.spyOn(Reader.prototype as unknown as { advance: (bytes: number) => number }, 'advance')
      // Numbers that say how many follow, and names, in all orders: nothing that decodes them may believe them.
      const piece = fc.oneof(fc.constantFrom(0, 0, 0, 1, 2, 3, 0x7f, 0xff), fc.nat(255))
      const frame = fc.oneof(
        fc.array(piece, { maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
        fc.array(fc.oneof(fc.constantFrom(0, 1, 2, -1, 0x7fff_ffff), fc.integer()), { maxLength: 60 }).map((numbers) => {
          const writer = new Writer()
          for (const number of numbers) writer.int32(number)
          return Buffer.concat(writer.finish())
        }),
      )
      fc.assert(
        fc.property(frame, (bytes) => {
          steps.mockClear()
          try {
            api.decode(new Reader(bytes))
          } catch (error) {
            // What reads answers makes an error of millrace of it, which names the broker.
            expect(error instanceof RangeError || error instanceof MillraceError).toBe(true)
          }
          expect(steps.mock.calls.length).toBeLessThanOrEqual(2 * bytes.length + 10)
        }),
        { numRuns: 400 },
      )
    },
  )
})
