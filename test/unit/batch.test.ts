import { isUtf8 } from 'node:buffer'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { gzipCodec } from '../../src/log/batch/compression.js'
import { AT, writeInt64 } from '../../src/log/batch/header.js'
import { BatchReader, viewBatch, withUncompressed, type BatchView } from '../../src/log/batch/read.js'
import { BatchWriter, singleBatchSizeAdding, stampBatch, type Encoded, type OutputBatch } from '../../src/log/batch/write.js'
import { MAX_BATCH_BYTES } from '../../src/log/fetch-queue.js'
import { MillraceError } from '../../src/record/error.js'
import { addedHeaders, replaceHeaders, type HeadersInput } from '../../src/record/headers.js'
import { RecordSource } from '../../src/record/record-source.js'
import { LogRecord, RAW_ALL } from '../../src/record/record.js'
import { cursor, readVarint, readVarlong, varintSize, varlongSize, writeVarint, writeVarlong } from '../../src/record/varint.js'

type Read = LogRecord<Buffer | null, Buffer | null>
type Compression = 'none' | 'gzip'

interface Given {
  readonly key: Encoded
  readonly value: Encoded
  readonly headers: HeadersInput
  readonly timestamp: number
}

/** Where a varint gets longer, where copying changes its ways, and around the first capacity of a buffer. */
const SIZES = [0, 1, 47, 48, 49, 63, 64, 127, 128, 8_130, 8_191, 8_192, 8_193]
const YEAR_3000 = Date.UTC(3000, 0)

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 80 }),
  fc.constantFrom(...SIZES).map((size) => new Uint8Array(size).fill(0xe9)),
)
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 80 }),
  // One, two, three bytes of UTF-8 a character, and half of a pair.
  fc.tuple(fc.constantFrom('a', 'é', '漢', '\ud83d'), fc.constantFrom(...SIZES)).map(([character, size]) => character.repeat(size)),
)
const part: fc.Arbitrary<Encoded> = fc.oneof(fc.constant(null), bytes, text)
const headerValue = fc.oneof(fc.constant(null), fc.uint8Array({ maxLength: 70 }), fc.string({ unit: 'binary', maxLength: 20 }))
const headerName = fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), fc.constantFrom('', 'trace', '0', '__proto__', 'constructor'))
const headers: fc.Arbitrary<HeadersInput> = fc
  .array(fc.tuple(headerName, fc.oneof(headerValue, fc.array(headerValue, { maxLength: 3 }))), { maxLength: 4 })
  .map((entries) => Object.assign(Object.create(null) as object, ...entries.map(([name, value]) => ({ [name]: value }))) as HeadersInput)
const timestamp = fc.oneof(
  fc.constantFrom(-1, 0, YEAR_3000),
  fc.integer({ min: 1_700_000_000_000, max: 1_700_000_100_000 }),
  fc.integer({ min: 0, max: YEAR_3000 }),
)
const given: fc.Arbitrary<Given> = fc.record({ key: part, value: part, headers, timestamp })
const compression = fc.constantFrom<Compression>('none', 'gzip')

/** As a string where that is the same bytes. */
const textOf = (value: Buffer): Buffer | string => (isUtf8(value) ? value.toString('utf8') : value)

describe('record batches', () => {
  it('read as they were written: keys, values, headers, times, order, offsets', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(given, { minLength: 1, maxLength: 30 }),
        compression,
        fc.integer({ min: 100, max: 30_000 }),
        async (records, codec, batchBytes) => {
          const log = await logOf(written(records, batchBytes), codec)
          const found = await readLog(log)
          expect(found.map(seen)).toEqual(records.map(expected))
          expect(found.map(({ offset }) => offset)).toEqual(records.map((_, offset) => offset))
        },
      ),
      { numRuns: 150 },
    )
  })

  it('keep to the size they are given, but for a record that is larger', () => {
    fc.assert(
      fc.property(fc.array(given, { minLength: 1, maxLength: 30 }), fc.integer({ min: 100, max: 30_000 }), (records, batchBytes) => {
        const writer = new BatchWriter('topic', 0, batchBytes)
        for (const { key, value, headers: map, timestamp: time } of records) writer.append(key, value, map, time)
        const held = writer.bytes
        const batches = writer.take(true)
        for (const { bytes: batch, count } of batches) expect(count === 1 || batch.length <= batchBytes).toBe(true)
        expect(batches.reduce((sum, { bytes: batch }) => sum + batch.length, 0)).toBe(held)
        expect(batches.reduce((sum, { count }) => sum + count, 0)).toBe(records.length)
        expect([writer.bytes, writer.finishedCount, writer.take(true)]).toEqual([0, 0, []])
      }),
      { numRuns: 100 },
    )
  })

  it('stay the same when records are copied as bytes, wholly or in part', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(given, { minLength: 1, maxLength: 20 }),
        fc.array(fc.constantFrom('whole', 'all but the value', 'headers', 'nothing'), { minLength: 1, maxLength: 5 }),
        async (records, ways) => {
          const found = await readLog(await logOf(written(records, 5_000), 'none'))
          const writer = new BatchWriter('copy', 0, 5_000)
          for (const [i, record] of found.entries()) {
            const way = ways[i % ways.length]
            if (way === 'whole') writer.appendRaw(record)
            else if (way === 'all but the value')
              writer.appendValue(record, i % 2 === 0 || record.value === null ? record.value : textOf(record.value))
            else writer.append(record.key, record.value, way === 'headers' ? record : record.headers, record.timestamp)
          }
          expect((await readLog(await logOf(writer.take(true), 'none'))).map(seen)).toEqual(records.map(expected))
        },
      ),
      { numRuns: 100 },
    )
  })

  it('take headers behind those that a record has, as if all had been written at once', async () => {
    const added = fc.dictionary(
      fc.stringMatching(/^[a-z._-]{1,70}$/),
      fc.oneof(
        text,
        fc.uint8Array({ maxLength: 70 }).map((value) => Buffer.from(value)),
      ),
      { maxKeys: 70, noNullPrototype: true },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(given, { minLength: 1, maxLength: 10 }), added, timestamp, async (records, more, time) => {
        const [one, other] = [new BatchWriter('copy', 0, 5_000), new BatchWriter('copy', 0, 5_000)]
        for (const record of await readLog(await logOf(written(records, 5_000), 'none'))) {
          one.appendAdding(record, addedHeaders(more), time)
          other.append(record.key, record.value, replaceHeaders(record.source.bytes, record.headersStart(), new Set(), more), time)
          const alone = new BatchWriter('copy', 0, 5_000)
          alone.appendAdding(record, addedHeaders(more), time)
          expect(singleBatchSizeAdding(record, addedHeaders(more))).toBe(alone.take(true)[0]?.bytes.length)
        }
        expect((await logOf(one.take(true), 'none')).equals(await logOf(other.take(true), 'none'))).toBe(true)
      }),
      { numRuns: 100 },
    )
  })

  it('take headers behind those of a record whose numbers are longer than they need to be', async () => {
    // No key, no value, no headers: the zero takes two bytes.
    const odd = Buffer.from([1, 1, 0x80, 0])
    const record = new LogRecord<unknown, unknown>(
      new RecordSource({ topic: 'odd', partition: 0, bytes: odd }),
      0,
      5,
      0,
      0,
      odd.length,
      RAW_ALL,
      undefined,
      undefined,
      undefined,
    )
    const writer = new BatchWriter('copy', 0, 5_000)
    for (let i = 0; i < 2; i++) writer.appendAdding(record, addedHeaders({ why: 'not' }), 5)
    const found = await readLog(await logOf(writer.take(true), 'none'))
    expect(found.map(({ key, value, headers: map }) => [key, value, String(map['why'])])).toEqual([
      [null, null, 'not'],
      [null, null, 'not'],
    ])
  })

  it('say what their records span', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(given, { minLength: 1, maxLength: 10 }),
        compression,
        fc.boolean(),
        async (records, codec, transactional) => {
          const log = await logOf(written(records, 1024 * 1024), codec, transactional)
          const { bytes: batch, ...header } = viewBatch(log, 0, 'topic/0') as BatchView
          expect(batch.equals(log)).toBe(true)
          expect(header).toEqual({
            records: AT.records,
            baseOffset: 0,
            lastOffset: records.length - 1,
            count: records.length,
            baseTimestamp: records[0]?.timestamp,
            maxTimestamp: Math.max(...records.map(({ timestamp: time }) => time)),
            logAppendTime: false,
            compression: codec === 'none' ? 0 : 1,
            transactional,
            control: false,
            producerId: 7n,
            producerEpoch: 3,
            // It has not been in the log of a leader.
            leaderEpoch: -1,
          })
        },
      ),
      { numRuns: 50 },
    )
  })

  it('begin at any offset asked for', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(given, { minLength: 1, maxLength: 20 }), fc.nat({ max: 25 }), async (records, from) => {
        const found = await readLog(await logOf(written(records, 2_000), 'none'), from)
        expect(found.map(({ offset }) => offset)).toEqual(records.map((_, offset) => offset).filter((offset) => offset >= from))
      }),
      { numRuns: 50 },
    )
  })
})

describe('a damaged batch', () => {
  const some: readonly Given[] = [
    { key: 'a', value: 'first', headers: { trace: '1' }, timestamp: 1_700_000_000_000 },
    { key: null, value: 'é'.repeat(40), headers: { twice: [null, 'x'] }, timestamp: -1 },
    { key: new Uint8Array(70), value: null, headers: {}, timestamp: YEAR_3000 },
  ]

  it.each(['none', 'gzip'] as const)('cut at any byte is incomplete, and what is before it reads as it was: %s', async (codec) => {
    const first = await logOf(written(some, 1024), codec)
    const second = Buffer.from(first)
    writeInt64(second, AT.baseOffset, some.length)
    const both = Buffer.concat([first, second])
    for (let length = 0; length < first.length; length++) expect(viewBatch(first.subarray(0, length), 0, 'topic/0')).toBeUndefined()
    for (let length = first.length; length < both.length; length++)
      expect(viewBatch(both.subarray(0, length), first.length, 'topic/0')).toBeUndefined()
    expect((await readLog(both.subarray(0, both.length - 1))).map(seen)).toEqual(some.map(expected))
    expect(await readLog(both)).toHaveLength(2 * some.length)
  })

  it('whose records are cut at any byte gives those that are whole, then CORRUPT_BATCH', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(given, { minLength: 1, maxLength: 4 }), fc.nat(), async (records, cut) => {
        const log = await logOf(written(records, 1024 * 1024), 'none')
        const view = viewBatch(log, 0, 'topic/0') as BatchView
        const section = log.subarray(view.records)
        const part = section.subarray(0, cut % section.length)
        const reader = readerOf({ ...view, bytes: part, records: 0, compression: 0 })
        const found: Read[] = []
        expect(() => takeAll(reader, found)).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }) as Error)
        expect(found.length).toBeLessThan(records.length)
        expect(found.map(seen)).toEqual(records.slice(0, found.length).map(expected))
      }),
      { numRuns: 300 },
    )
  })

  it.each(['none', 'gzip'] as const)('with any bit flipped is refused: %s', async (codec) => {
    const log = await logOf(written(some, 1024), codec)
    const outcomes = new Map<string, Set<string>>()
    for (let bit = 0; bit < log.length * 8; bit++) {
      const at = bit >> 3
      // Brokers write these two after the producer made the CRC, which leaves them out.
      if (at < AT.batchLength || (at >= AT.leaderEpoch && at < AT.magic)) continue
      const damaged = Buffer.from(log)
      damaged[at] = (damaged[at] as number) ^ (1 << (bit & 7))
      const where = at < AT.magic ? 'length' : at < AT.crc ? 'magic' : 'rest'
      outcomes.set(where, (outcomes.get(where) ?? new Set()).add(outcome(damaged)))
    }
    // A length that is too large looks like a batch that was cut.
    expect(outcomes).toEqual(
      new Map([
        ['length', new Set(['CORRUPT_BATCH', 'incomplete'])],
        ['magic', new Set(['UNSUPPORTED_FORMAT'])],
        ['rest', new Set(['CORRUPT_BATCH'])],
      ]),
    )
  })

  it('with a bit flipped is refused, whatever it holds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(given, { minLength: 1, maxLength: 5 }), compression, fc.nat(), async (records, codec, place) => {
        const log = await logOf(written(records, 1024 * 1024), codec)
        const bit = AT.crc * 8 + (place % ((log.length - AT.crc) * 8))
        log[bit >> 3] = (log[bit >> 3] as number) ^ (1 << (bit & 7))
        expect(outcome(log)).toBe('CORRUPT_BATCH')
      }),
      { numRuns: 300 },
    )
  })
})

describe('varints', () => {
  const target = Buffer.alloc(12)

  it('of 32 bits read as they were written, in as many bytes as said', () => {
    fc.assert(
      fc.property(fc.integer(), (value) => {
        expect(writeVarint(target, 1, value)).toBe(1 + varintSize(value))
        expect([readVarint(target, 1), cursor.pos]).toEqual([value, 1 + varintSize(value)])
      }),
    )
  })

  it('of up to 54 bits read as they were written, in as many bytes as said', () => {
    const edges = [31, 32, 34, 35, 41, 42, 48, 49, 53].flatMap((power) => [
      2 ** power - 1,
      2 ** (power - 1),
      -(2 ** power - 1),
      -(2 ** (power - 1)),
      1 - 2 ** (power - 1),
    ])
    fc.assert(
      fc.property(fc.oneof(fc.maxSafeInteger(), fc.integer(), fc.constantFrom(...edges)), (value) => {
        expect(writeVarlong(target, 1, value)).toBe(1 + varlongSize(value))
        expect([readVarlong(target, 1), cursor.pos]).toEqual([value, 1 + varlongSize(value)])
        expect(target.subarray(1, cursor.pos)).toEqual(zigzag(BigInt(value)))
      }),
      { numRuns: 1_000 },
    )
  })
})

/** As the format has it, in 64-bit arithmetic. */
function zigzag(value: bigint): Buffer {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const out: number[] = []
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80)
  return Buffer.from([...out, Number(rest)])
}

function written(records: readonly Given[], batchBytes: number): OutputBatch[] {
  const writer = new BatchWriter('topic', 0, batchBytes)
  for (const { key, value, headers: map, timestamp: time } of records) writer.append(key, value, map, time)
  return writer.take(true)
}

/** The batches one after the other, as a broker keeps them. */
async function logOf(batches: readonly OutputBatch[], codec: Compression, transactional = false): Promise<Buffer> {
  const stored: Buffer[] = []
  let offset = 0
  for (const batch of batches) {
    const compressed = codec === 'gzip' ? { compressed: await gzipCodec.compress(batch.bytes.subarray(AT.records)) } : {}
    const stamped = stampBatch(batch, {
      producerId: 7n,
      producerEpoch: 3,
      baseSequence: offset,
      transactional,
      compression: codec === 'gzip' ? 1 : 0,
      ...compressed,
    })
    writeInt64(stamped, AT.baseOffset, offset)
    offset += batch.count
    stored.push(stamped)
  }
  return Buffer.concat(stored)
}

async function readLog(log: Buffer, fromOffset = 0): Promise<Read[]> {
  const found: Read[] = []
  for (
    let at = 0, view = viewBatch(log, at, 'topic/0');
    view !== undefined;
    at += view.bytes.length, view = viewBatch(log, at, 'topic/0')
  ) {
    const plain =
      view.compression === 0
        ? view
        : withUncompressed(view, await gzipCodec.decompress(view.bytes.subarray(view.records), MAX_BATCH_BYTES), 'test')
    takeAll(readerOf(plain, fromOffset), found)
  }
  return found
}

function readerOf(view: BatchView, fromOffset = 0): BatchReader {
  return new BatchReader(view, new RecordSource({ topic: 'topic', partition: 0, bytes: view.bytes }), fromOffset)
}

function takeAll(reader: BatchReader, into: Read[]): void {
  for (let record = reader.next(0); record !== undefined; record = reader.next(0)) into.push(record)
}

function outcome(log: Buffer): string {
  try {
    return viewBatch(log, 0, 'topic/0') === undefined ? 'incomplete' : 'read'
  } catch (error) {
    return error instanceof MillraceError ? error.code : String(error)
  }
}

interface Seen {
  readonly key: string | null
  readonly value: string | null
  readonly headers: readonly (readonly [name: string, values: readonly (string | null)[]])[]
  readonly timestamp: number
}

/** In hex, which compares fast and prints well. */
function seen({ key, value, headers: map, timestamp: time }: Read): Seen {
  return { key: hex(key), value: hex(value), headers: headerList(map), timestamp: time }
}

function expected({ key, value, headers: map, timestamp: time }: Given): Seen {
  return { key: hex(key), value: hex(value), headers: headerList(map), timestamp: time }
}

function headerList(map: HeadersInput): Seen['headers'] {
  return Object.entries(map)
    .map(([name, values]) => [name, (Array.isArray(values) ? (values as readonly Encoded[]) : [values as Encoded]).map(hex)] as const)
    .filter(([, values]) => values.length > 0)
    .sort(([a], [b]) => (a < b ? -1 : 1))
}

function hex(part: Encoded): string | null {
  return part === null ? null : Buffer.from(part as Uint8Array).toString('hex')
}
