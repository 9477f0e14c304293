import { describe, expect, it } from 'vitest'
import type { Position } from '../../../src/log/port.js'
import type { Api, Throttled } from '../../../src/kafka/protocol/api.js'
import { ApiVersions } from '../../../src/kafka/protocol/api-versions.js'
import { DescribeTransactions } from '../../../src/kafka/protocol/describe-transactions.js'
import { EndTxn, EndTxnBumpingEpoch } from '../../../src/kafka/protocol/end-txn.js'
import { Fetch, FetchWithoutEpoch } from '../../../src/kafka/protocol/fetch.js'
import { initProducerId } from '../../../src/kafka/protocol/init-producer-id.js'
import { JoinGroup } from '../../../src/kafka/protocol/join-group.js'
import { ListOffsets } from '../../../src/kafka/protocol/list-offsets.js'
import { Metadata } from '../../../src/kafka/protocol/metadata.js'
import { OffsetFetch } from '../../../src/kafka/protocol/offset-fetch.js'
import { Produce, ProduceImplicit } from '../../../src/kafka/protocol/produce.js'
import { Reader } from '../../../src/kafka/protocol/reader.js'
import { TxnOffsetCommit, TxnOffsetCommitImplicit } from '../../../src/kafka/protocol/txn-offset-commit.js'
import { Writer } from '../../../src/kafka/protocol/writer.js'

/** The body as it goes out, without what stands before it. */
function written<Request, Response extends Throttled>(api: Api<Request, Response>, body: Request): string {
  const writer = new Writer()
  writer.int32(0)
  api.encode(writer, body)
  return Buffer.concat(writer.finish()).toString('hex', 4)
}

/** What a body says; all of it must be read. */
function read<Request, Response extends Throttled>(api: Api<Request, Response>, hex: string): Response {
  const reader = new Reader(Buffer.from(hex, 'hex'))
  const response = api.decode(reader)
  expect(reader.pos).toBe(reader.buffer.length)
  return response
}

const identity = { transactionalId: 'tx', producerId: 7n, producerEpoch: 3 }
const records = Buffer.from([1, 2, 3])

/** The bytes are those of the Java client 4.3.1. */
describe('requests', () => {
  it('TxnOffsetCommit', () => {
    const member = { group: 'group', memberId: 'member', generation: 5, instanceId: 'one' }
    const offsets = [
      { topic: 't', partition: 1, offset: 2 ** 32 + 4, leaderEpoch: 6 },
      { topic: 't', partition: 2, offset: 0 },
    ]
    const bytes =
      '0374780667726f75700000000000000007000300000005076d656d626572046f6e6502027403000000010000000100000004000000060100000000020000000000000000ffffffff01000000'
    expect(written(TxnOffsetCommit, { ...identity, member, offsets })).toBe(bytes)
    expect(written(TxnOffsetCommitImplicit, { ...identity, member, offsets })).toBe(bytes)
    const [first] = offsets.map((at) => ({ ...at, metadata: 'm' }))
    expect(written(TxnOffsetCommit, { ...identity, member, offsets: [first as Position] })).toContain('00000006026d00')
  })

  it('EndTxn', () => {
    expect(written(EndTxn, { ...identity, commit: true })).toBe('000274780000000000000007000301')
    expect(written(EndTxnBumpingEpoch, { ...identity, commit: true })).toBe('037478000000000000000700030100')
  })

  it('DescribeTransactions', () => {
    expect(written(DescribeTransactions, { transactionalId: 'tx' })).toBe('0203747800')
  })

  it('InitProducerId', () => {
    expect(written(initProducerId(5), { transactionalId: 'tx', transactionTimeoutMs: 10_000, producerId: -1n, producerEpoch: -1 })).toBe(
      '03747800002710ffffffffffffffffffff00',
    )
  })

  it('OffsetFetch asks for stable offsets', () => {
    const partitions = [1, 2].map((partition) => ({ topic: 't', partition }))
    expect(written(OffsetFetch, { group: 'group', partitions })).toBe('0667726f7570020274030000000100000002000100')
  })

  it('Produce, whose batches are handed on by reference', () => {
    const body = { transactionalId: 'tx', timeoutMs: 1_000, batches: [{ topic: 't', partition: 1, bytes: records }] }
    expect(written(Produce, body)).toBe('00027478ffff000003e800000001000174000000010000000100000003010203')
    expect(written(ProduceImplicit, body)).toBe('037478ffff000003e8020274020000000104010203000000')
    const writer = new Writer()
    Produce.encode(writer, body)
    expect(writer.finish()).toContain(records)
  })

  it('JoinGroup', () => {
    const body = {
      group: 'group',
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 20_000,
      memberId: '',
      instanceId: undefined,
      protocols: [
        { name: 'p', metadata: Buffer.from([1, 2]) },
        { name: 'q', metadata: Buffer.from([3]) },
      ],
    }
    expect(written(JoinGroup, body)).toBe(
      '000567726f75700000271000004e200000ffff0008636f6e73756d6572000000020001700000000201020001710000000103',
    )
  })

  it('Fetch', () => {
    const body = {
      maxWaitMs: 250,
      maxBytes: 1_000,
      readCommitted: true,
      partitions: [{ topic: 't', partition: 1, offset: 2 ** 32 + 4, leaderEpoch: 7, lastFetchedEpoch: 6, maxBytes: 500 }],
      sessionId: 9,
      sessionEpoch: 3,
      forgotten: [
        { topic: 't', partition: 2 },
        { topic: 'u', partition: 0 },
      ],
    }
    expect(written(Fetch, body)).toBe(
      'ffffffff000000fa00000001000003e80100000009000000030202740200000001000000070000000100000004' +
        '00000006ffffffffffffffff000001f400000302740200000002000275020000000000' +
        '0100',
    )
    expect(written(FetchWithoutEpoch, body)).toBe(
      'ffffffff000000fa00000001000003e8010000000900000003000000010001740000000100000001000000070000000100000004ffffffffffffffff000001f4' +
        '00000002000174000000010000000200017500000001000000000000',
    )
  })

  it('Metadata never creates a topic', () => {
    expect(written(Metadata, { topics: ['t'] })).toBe('0000000100017400')
  })

  it('ListOffsets', () => {
    expect(written(ListOffsets, { readCommitted: true, partitions: [{ topic: 't', partition: 1, leaderEpoch: 7, timestamp: -2 }] })).toBe(
      'ffffffff0100000001000174000000010000000100000007fffffffffffffffe',
    )
  })
})

describe('responses', () => {
  it('TxnOffsetCommit', () => {
    expect(read(TxnOffsetCommitImplicit, '0000000902027402000000010016000000')).toEqual({
      throttleMs: 9,
      results: [{ topic: 't', partition: 1, error: 22 }],
    })
  })

  it('EndTxn gives the next identity', () => {
    expect(read(EndTxnBumpingEpoch, '0000000000000000000000000008000000')).toEqual({
      throttleMs: 0,
      error: 0,
      next: { producerId: 8n, producerEpoch: 0 },
    })
  })

  it('DescribeTransactions says in which state it is', () => {
    const bytes = '000000090200000374780e50726570617265436f6d6d69740000ea600000000000000005000000000000000700030202740200000001000000'
    expect(read(DescribeTransactions, bytes)).toEqual({ throttleMs: 9, transactions: [{ error: 0, state: 'PrepareCommit' }] })
  })

  it('OffsetFetch', () => {
    const results = [{ topic: 't', partition: 1, offset: 12, leaderEpoch: 3, metadata: 'm', error: 88 }]
    expect(read(OffsetFetch, '000000000202740200000001000000000000000c00000003026d00580000000000')).toEqual({
      throttleMs: 0,
      error: 0,
      results,
    })
  })

  it('Produce with what is wrong, and tagged fields that are stepped over', () => {
    const bytes =
      '02027403000000010006ffffffffffffffffffffffffffffffffffffffffffffffff01066d6f7665640100090000000200000004000000000200570000000000000000ffffffffffffffffffffffffffffffff0200000000076e6f206b6579000000000000000901000d02000000020268000000090000'
    expect(read(ProduceImplicit, bytes)).toEqual({
      throttleMs: 9,
      results: [
        { topic: 't', partition: 1, error: 6, message: 'moved', offset: -1 },
        { topic: 't', partition: 2, error: 87, message: 'no key', offset: 0 },
      ],
    })
  })

  it('ApiVersions with the finalised features', () => {
    const bytes =
      '00000200000003000d0000000003030014020e67726f75702e76657273696f6e000000010001080000000000000005021a02147472616e73616374696f6e2e76657273696f6e0002000200'
    expect(read(ApiVersions, bytes)).toEqual({
      throttleMs: 3,
      error: 0,
      versions: new Map([[0, { min: 3, max: 13 }]]),
      features: new Map([['transaction.version', 2]]),
    })
  })

  it('Fetch', () => {
    const bytes =
      '0000000900000000002a00000001000174000000010000000100000000000000000014000000000000001200000000000000020000000100000000000000070000000000000003ffffffff00000003010203'
    const partition = {
      topic: 't',
      partition: 1,
      error: 0,
      highWatermark: 20,
      lastStableOffset: 18,
      aborted: [{ producerId: 7n, firstOffset: 3 }],
      records,
    }
    expect(read(FetchWithoutEpoch, bytes)).toEqual({ throttleMs: 9, error: 0, sessionId: 42, partitions: [partition] })
    const head =
      '0000000900000000002a020274020000000100000000000000000014000000000000001200000000000000020200000000000000070000000000000003'
    // The last tagged field is the current leader, of which nothing is taken.
    expect(read(Fetch, `${head}00ffffffff0401020300` + '0000')).toEqual({ throttleMs: 9, error: 0, sessionId: 42, partitions: [partition] })
    const tags = '02000d00000005000000000000001100' + '01090000000200000006' + '00'
    expect(read(Fetch, `${head}00ffffffff01${tags}` + '0000')).toEqual({
      throttleMs: 9,
      error: 0,
      sessionId: 42,
      partitions: [{ ...partition, records: Buffer.alloc(0), diverging: { epoch: 5, endOffset: 17 } }],
    })
  })

  it('one that ends too early is an error, not garbage', () => {
    expect(() => read(FetchWithoutEpoch, '00000009000000000000000000010001')).toThrow(RangeError)
  })
})

describe('Writer and Reader', () => {
  it('keep what is written across growth and foreign buffers', () => {
    const writer = new Writer()
    const text = 'é'.repeat(300)
    const numbers = [0, 127, 128, 16_383, 16_384, 2 ** 28]
    writer.int32(0)
    writer.string(text)
    writer.raw(Buffer.alloc(1_000, 1))
    for (const number of numbers) writer.uvarint(number)
    writer.compactString(null)
    writer.int64(-2)
    const bytes = Buffer.concat(writer.finish())
    const reader = new Reader(bytes)
    expect(reader.int32()).toBe(bytes.length - 4)
    expect(reader.string()).toBe(text)
    reader.pos += 1_000
    expect(numbers.map(() => reader.uvarint())).toEqual(numbers)
    expect(reader.compactNullableString()).toBeNull()
    expect(reader.int64()).toBe(-2)
  })
})
