import { describe, expect, it } from 'vitest'
import { PartitionLog } from '../../src/embedded/partition.js'
import { BatchWriter, stampBatch, type OutputBatch } from '../../src/log/batch/write.js'
import { waitingValue, delayStore } from '../../src/operators/delay/delay-store.js'
import { storedForm } from '../../src/operators/store/stored-value.js'
import { bytes, json } from '../../src/record/serde.js'
import type { Serde } from '../../src/record/serde.js'

/** Small buffers lie in pools of 8 kB: one that is kept keeps all of its pool, so 40 bytes of state took 5 kB where commits were small. */
describe('what is kept for long lies in no pool of buffers', () => {
  it.each([
    ['an object', json<object>(), { a: 1 }],
    ['bytes', bytes() as Serde<unknown> as Serde<object>, Buffer.from('abc')],
  ] as const)('a value of a store: %s, put and restored', (_, serde, value) => {
    const form = storedForm<object>(serde, true)
    const put = form.put(value, 5)
    expect([typeof put.encoded, put.copy()]).toEqual(['string', value])
    const stored = form.serde.encode(put) as Buffer
    const restored = form.serde.decode(stored) as typeof put
    expect([typeof restored.encoded, restored.at, restored.copy()]).toEqual(['string', 5, value])
  })

  it('a record that waits', () => {
    const record = Buffer.from('\0\0\0\0\0\0\0\x07é\xff', 'latin1')
    expect(waitingValue(record)).toMatchObject({ at: 7, bytes: record.toString('latin1') })
    const store = delayStore('d').create()
    store.put('k', waitingValue(record))
    const written: Buffer[] = []
    store.changes((_key, value) => written.push(Buffer.from(value as Buffer)))
    expect(written).toEqual([record])
  })

  it('a batch on the embedded broker', () => {
    const log = new PartitionLog('t/0', 1_000_000)
    const writer = new BatchWriter('t', 0, 1024 * 1024)
    writer.append(null, 'x', {}, 1)
    const [batch] = writer.take(true)
    log.append(
      stampBatch(batch as OutputBatch, { producerId: 1n, producerEpoch: 0, baseSequence: 0, transactional: false, compression: 0 }),
    )
    for (const { bytes: kept } of log.batches) expect(kept.buffer.byteLength).toBe(kept.length)
  })
})
