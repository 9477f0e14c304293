import { LeaderEpochs } from '../../src/log/leader-epochs.js'
import { setImmediate } from 'node:timers/promises'
import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { builtInCodecs, gzipCodec, type CodecLookup } from '../../src/log/batch/compression.js'
import { AT, LENGTH_OVERHEAD, batchCrc, writeInt64 } from '../../src/log/batch/header.js'
import { BatchWriter, stampBatch, type OutputBatch } from '../../src/log/batch/write.js'
import { FetchQueue, type QueueSettings } from '../../src/log/fetch-queue.js'
import type { SkippedBatch } from '../../src/log/port.js'
import { until } from '../support/until.js'

/** A batch at an offset, its records compressed by gzip where asked. */
function batchAt(offset: number, count = 1, compression: 0 | 1 | 3 = 0, records?: Buffer): Buffer {
  const writer = new BatchWriter('t', 0, 1024 * 1024)
  for (let i = 0; i < count; i++) writer.append(null, `record ${offset + i}`, {}, 1)
  const [batch] = writer.take(true)
  const compressed = compression === 0 ? {} : { compressed: records ?? gzipSync((batch as OutputBatch).bytes.subarray(AT.records)) }
  const bytes = stampBatch(batch as OutputBatch, {
    producerId: -1n,
    producerEpoch: -1,
    baseSequence: -1,
    transactional: false,
    compression,
    ...compressed,
  })
  writeInt64(bytes, AT.baseOffset, offset)
  return bytes
}

function queueOf(settings: Partial<QueueSettings> = {}, offset = 0): FetchQueue {
  return new FetchQueue(
    { topic: 't', partition: 0, offset },
    { codecs: builtInCodecs, inflateBytes: () => 10_000, changed: () => {}, ...settings },
  )
}

const answer = (end: number, ...batches: Buffer[]): Parameters<FetchQueue['accept']>[0] => ({
  batches: [Buffer.concat(batches)],
  aborted: [],
  end,
})

/** Takes all there is; what was thrown comes as it is. */
function drain(queue: FetchQueue): unknown[] {
  const seen: unknown[] = []
  for (;;) {
    try {
      const fetched = queue.take()
      if (fetched === undefined) return seen
      seen.push([fetched.fromOffset, fetched.nextOffset, fetched.batch?.count])
    } catch (error) {
      seen.push(error)
    }
  }
}

const damaged = (bytes: Buffer): Buffer => {
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1
  return bytes
}

/** A message of format 1 without key and value: 34 bytes and less than the header of a batch. */
function oldMessage(offset: number): Buffer {
  const bytes = Buffer.alloc(34)
  writeInt64(bytes, AT.baseOffset, offset)
  bytes.writeInt32BE(bytes.length - LENGTH_OVERHEAD, AT.batchLength)
  bytes.writeInt8(1, AT.magic)
  return bytes
}

describe('what is fetched of a partition', () => {
  it('a damaged batch is an error behind what came before it, which says its offsets; what is behind it waits', () => {
    const queue = queueOf()
    queue.accept(answer(9, batchAt(0, 2), damaged(batchAt(2, 3)), batchAt(5, 4)))
    const [first, error, ...rest] = drain(queue)
    expect([first, rest]).toEqual([[0, 2, 2], []])
    expect(error).toMatchObject({ code: 'CORRUPT_BATCH', reaction: 'retry', origin: { topic: 't', partition: 0, offset: 2 } })
    expect((error as Error).message).toContain('offsets 2 to 4')
    expect([queue.fetchOffset, queue.trouble]).toEqual([2, error])
    // It was damaged on the way.
    queue.accept(answer(9, batchAt(2, 3), batchAt(5, 4)))
    expect(queue.trouble).toBeUndefined()
    expect(drain(queue)).toEqual([
      [2, 5, 3],
      [5, 9, 4],
    ])
  })

  it('is stepped over where told so, and told of with its offsets; the answer behind it is asked for anew', () => {
    const skipped: SkippedBatch[] = []
    const queue = queueOf({ onSkipped: (batch) => skipped.push(batch) }, 3)
    queue.accept(answer(9, damaged(batchAt(2, 3)), batchAt(5, 4)))
    expect(skipped).toMatchObject([{ topic: 't', partition: 0, firstOffset: 3, lastOffset: 4, error: { code: 'CORRUPT_BATCH' } }])
    queue.accept(answer(9, batchAt(5, 4)))
    expect(drain(queue)).toEqual([
      [3, 5, undefined],
      [5, 9, 4],
    ])
  })

  it.each([
    ['beyond what comes next', (bytes: Buffer) => bytes.writeInt32BE(6, AT.lastOffsetDelta)],
    ['beyond the end of the partition', (bytes: Buffer) => bytes.writeInt32BE(1_000, AT.lastOffsetDelta)],
    ['before it begins', (bytes: Buffer) => bytes.writeInt32BE(-7, AT.lastOffsetDelta)],
    ['not to be told by its length', (bytes: Buffer) => bytes.writeInt32BE(100_000, AT.batchLength)],
  ])('is not stepped over where its end is %s', (_how, spoil) => {
    const skipped: SkippedBatch[] = []
    const queue = queueOf({ onSkipped: (batch) => skipped.push(batch) })
    const bytes = batchAt(0, 3)
    spoil(bytes)
    queue.accept(answer(9, bytes, batchAt(3, 4)))
    expect(drain(queue)).toMatchObject([{ code: 'CORRUPT_BATCH', origin: { offset: 0 } }])
    expect([skipped, queue.fetchOffset]).toEqual([[], 0])
  })

  it('a lone message of an old format is an error, however short, and is stepped over where told so', () => {
    const queue = queueOf()
    expect(queue.accept(answer(5, oldMessage(4)))).toBe(true)
    expect(drain(queue)).toMatchObject([{ code: 'UNSUPPORTED_FORMAT', reaction: 'retry', origin: { offset: 0 } }])
    const skipped: SkippedBatch[] = []
    const other = queueOf({ onSkipped: (batch) => skipped.push(batch) }, 4)
    other.accept(answer(5, oldMessage(4)))
    expect([drain(other), skipped]).toMatchObject([[[4, 5, undefined]], [{ firstOffset: 4, lastOffset: 4 }]])
  })

  it('an answer with bytes and no whole batch is an error: asked again, it would be the same', () => {
    const queue = queueOf()
    expect(queue.accept(answer(5, batchAt(0, 3).subarray(0, 70)))).toBe(true)
    expect(drain(queue)).toMatchObject([{ code: 'CORRUPT_BATCH' }])
    expect(queue.accept(answer(5, batchAt(0, 3).subarray(0, 10)))).toBe(true)
    expect(drain(queue)).toMatchObject([{ code: 'CORRUPT_BATCH' }])
    // The last of several is cut wherever the size limit falls.
    queue.accept(answer(6, batchAt(0, 3), batchAt(3, 3).subarray(0, 70)))
    expect(drain(queue).at(-1)).toEqual([0, 3, 3])
  })

  it('a batch that grows beyond its bound when uncompressed is refused before it has grown', async () => {
    const zeros = gzipSync(Buffer.alloc(10_000_000))
    const sizes: number[] = []
    const counting: CodecLookup = () => ({
      ...gzipCodec,
      async decompress(records, maxBytes) {
        sizes.push(maxBytes)
        return gzipCodec.decompress(records, maxBytes)
      },
    })
    const queue = queueOf({ codecs: counting, maxBatchBytes: 100_000 })
    queue.accept(answer(4, batchAt(0, 1), batchAt(1, 2, 1, zeros)))
    await until(() => queue.failed)
    const [first, error] = drain(queue)
    expect(first).toEqual([0, 1, 1])
    expect(error).toMatchObject({ code: 'CORRUPT_BATCH', message: expect.stringContaining('more than 100000 bytes') as string })
    expect((error as Error).message).toContain('offsets 1 to 2')
    expect([sizes, queue.bytes]).toEqual([[100_000], 0])
  })

  it('counts what a batch takes besides its bytes: of tiny ones that is most', () => {
    let counted = 0
    const queue = queueOf({ changed: (bytes) => (counted += bytes) })
    const batches = Array.from({ length: 100 }, (_, offset) => batchAt(offset))
    queue.accept(answer(100, ...batches))
    const bytes = batches.reduce((sum, { length }) => sum + length, 0)
    expect(queue.bytes).toBeGreaterThan(bytes + 100 * 400)
    expect(counted).toBe(queue.bytes)
    expect(drain(queue)).toHaveLength(100)
    expect([queue.bytes, counted]).toEqual([0, 0])
  })

  it('a header that claims more records than there can be gets no room for them', async () => {
    const bytes = batchAt(0, 1)
    bytes.writeInt32BE(0x7fff_fffe, AT.lastOffsetDelta)
    bytes.writeInt32BE(0x7fff_ffff, AT.recordCount)
    bytes.writeUInt32BE(batchCrc(bytes), AT.crc)
    const queue = queueOf()
    queue.accept(answer(5, bytes))
    expect(drain(queue)).toMatchObject([{ code: 'CORRUPT_BATCH' }])
    const packed = batchAt(0, 1, 1)
    packed.writeInt32BE(1_000, AT.lastOffsetDelta)
    packed.writeInt32BE(1_000, AT.recordCount)
    packed.writeUInt32BE(batchCrc(packed), AT.crc)
    queue.accept(answer(5, packed))
    await until(() => queue.failed)
    expect(drain(queue)).toMatchObject([{ code: 'CORRUPT_BATCH' }])
  })

  it('a codec that is not there is an error with the offsets, and is looked for again', async () => {
    let installed = false
    const queue = queueOf({ codecs: () => (installed ? gzipCodec : undefined) })
    queue.accept(answer(3, batchAt(0, 3, 3)))
    await until(() => queue.failed)
    expect(drain(queue)).toMatchObject([{ code: 'UNSUPPORTED_FORMAT', reaction: 'retry', origin: { offset: 0 } }])
    installed = true
    queue.accept(answer(3, batchAt(0, 3, 3)))
    await until(() => queue.trouble === undefined)
    expect(drain(queue)).toEqual([[0, 3, 3]])
  })

  it('looks at each compressed batch a few times, however many wait', async () => {
    const looksFor = async (count: number): Promise<number> => {
      // In this thread: how often it is asked in vain would hang on how busy others are.
      const queue = queueOf({ inflateBytes: () => 1, codecs: () => ({ ...gzipCodec, decompress: async (packed) => gunzipSync(packed) }) })
      let looks = 0
      const entries = new Proxy([] as unknown[], {
        get(target, key, receiver) {
          if (typeof key === 'string' && /^\d+$/.test(key)) looks++
          return Reflect.get(target, key, receiver) as unknown
        },
      })
      Reflect.set(queue, 'entries', entries)
      queue.accept(answer(count, ...Array.from({ length: count }, (_, offset) => batchAt(offset, 1, 1))))
      for (let taken = 0; taken < count;) {
        if (queue.take() === undefined) await setImmediate()
        else taken++
      }
      return looks
    }
    const [some, many] = [await looksFor(200), await looksFor(800)]
    expect(many / some).toBeLessThan(4.4)
  })
})

describe('a log that was truncated', () => {
  it('without an election since what was read the topic was made anew: nothing of it was read', () => {
    const read = new LeaderEpochs(3)
    expect(read.sharedUpTo({ epoch: 3, endOffset: 2 }, 5, 4)).toEqual({ offset: 2, leaderEpoch: 3 })
    expect(read.sharedUpTo({ epoch: 3, endOffset: 2 }, 5, -1)).toEqual({ offset: 2, leaderEpoch: 3 })
    for (const leaderEpoch of [0, 3]) expect(read.sharedUpTo({ epoch: 3, endOffset: 2 }, 5, leaderEpoch)).toBeUndefined()
  })

  it('what is dropped is not counted on, also where it was on its way through a codec', async () => {
    const held: (() => void)[] = []
    const codecs: CodecLookup = () => ({
      ...gzipCodec,
      decompress: async (bytes: Buffer) => {
        await new Promise<void>((resolve) => held.push(resolve))
        return gunzipSync(bytes)
      },
    })
    let counted = 0
    const queue = queueOf({ codecs, changed: (bytes) => void (counted += bytes) })
    const batch = (offset: number, epoch: number): Buffer => {
      const bytes = batchAt(offset, 1, 1)
      bytes.writeInt32BE(epoch, AT.leaderEpoch)
      return bytes
    }
    queue.accept(answer(3, batch(0, 1), batch(1, 2), batch(2, 2)))
    await until(() => held.length === 1)
    held.shift()?.()
    await until(() => held.length === 1)
    // The first is ready, the second under way.
    expect(queue.truncated({ epoch: 1, endOffset: 5 }, 5, 2)).toBe(false)
    expect([queue.fetchOffset, queue.fetchEpoch, counted]).toEqual([1, 1, queue.bytes])
    queue.accept(answer(5, batch(1, 1)))
    held.shift()?.()
    await until(() => held.length === 1)
    held.shift()?.()
    await until(() => {
      drain(queue)
      return queue.position === 2
    })
    expect([queue.position, queue.bytes, counted]).toEqual([2, 0, 0])
  })
})
