import { SchemaRegistry } from '@kafkajs/confluent-schema-registry'
import { map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { deadLetter, decode, embedded, silentLogger, table, joinTable, toTopic, type Cluster, type RecordStream } from '../../src/index.js'
import {
  recordSubject,
  registrySerde,
  topicRecordSubject,
  topicSubject,
  type RegistrySerdeOptions,
} from '../../src/schema-registry/index.js'
import { promisesOf } from '../support/async-serde.js'
import { contents, runUntil } from '../support/pipelines.js'
import { fakeRegistry, type FakeRegistry } from '../support/schema-registry.js'
import { until } from '../support/until.js'

interface Order {
  readonly n: number
  readonly name: string
}

const avro = (fields: unknown[]): { type: 'AVRO'; schema: string } => ({
  type: 'AVRO',
  schema: JSON.stringify({ type: 'record', name: 'Order', namespace: 'shop', fields }),
})
const N = { name: 'n', type: 'long' }
const NAME = { name: 'name', type: 'string' }
const ORDER = avro([N, NAME])
const PROTO = {
  type: 'PROTOBUF' as const,
  schema: `syntax = "proto3";
package shop;
message Order { int32 id = 1; string name = 2; message Line { string sku = 1; } }
message Refund { string reason = 1; message Part { int32 n = 1; } message Whole { int32 n = 1; } }`,
}
const JSON_SCHEMA = {
  type: 'JSON' as const,
  schema: JSON.stringify({ type: 'object', properties: { n: { type: 'integer' }, name: { type: 'string' } }, required: ['n'] }),
}
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

describe('registrySerde', () => {
  let registry: FakeRegistry
  let cluster: Cluster

  beforeEach(async () => {
    registry = await fakeRegistry()
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics(['in', 'out', 'dead', 'rows'].map((topic) => ({ topic, partitions: 1 })))
  })

  afterEach(async () => {
    await cluster.close()
    await registry.close()
  })

  const client = (): SchemaRegistry => new SchemaRegistry({ host: registry.host, retry: { retries: 0 } })
  const serde = <T = Order>(options: Partial<RegistrySerdeOptions> = {}) =>
    registrySerde<T>(client(), { subject: topicSubject('orders'), schema: ORDER, ...options })

  // What stands in the description of the format: a zero, the id, and for Protobuf the message indexes.
  it.each([
    ['Avro', { schema: ORDER }, { n: 21, name: 'é' }, '00 00000001 2a 04 c3a9'],
    ['JSON', { schema: JSON_SCHEMA }, { n: 21 }, `00 00000001 ${Buffer.from('{"n":21}').toString('hex')}`],
    ['Protobuf, the first message', { schema: PROTO }, { id: 21, name: 'é' }, '00 00000001 00 0815 1202c3a9'],
    ['Protobuf, the second message', { schema: PROTO, message: 'Refund' }, { reason: 'x' }, '00 00000001 0202 0a0178'],
    ['Protobuf, a message in the first', { schema: PROTO, message: 'Line' }, { sku: 'x' }, '00 00000001 040000 0a0178'],
    ['Protobuf, a message by its full name', { schema: PROTO, message: 'shop.Refund.Whole' }, { n: 5 }, '00 00000001 040202 0805'],
    ['Protobuf, an empty message', { schema: PROTO, message: 'Refund' }, {}, '00 00000001 0202'],
  ] as const)('writes and reads %s as Java does', async (_, options, value, golden) => {
    const [writes, reads] = [serde<object>(options), registrySerde<object>(client(), { subject: 'any' })]
    const bytes = (await writes.encode(value)) as Buffer
    expect(bytes.toString('hex')).toBe(hex(golden).toString('hex'))
    expect({ ...(await reads.decode(bytes)) }).toEqual(
      'schema' in options && options.schema === PROTO ? expect.objectContaining(value) : value,
    )
    expect(writes.encode(null as never)).toBeNull()
  })

  it('asks for an id once, whoever asks meanwhile, and answers at once from then on', async () => {
    const writes = serde()
    const bytes = (await writes.encode({ n: 1, name: 'a' })) as Buffer
    expect(Buffer.isBuffer(writes.encode({ n: 2, name: 'b' }))).toBe(true)
    const reads = registrySerde<Order>(client(), { subject: 'any' })
    registry.asked.length = 0
    await Promise.all([reads.decode(bytes), reads.decode(bytes), reads.decode(bytes)])
    expect(registry.asked).toEqual(['GET /schemas/ids/1'])
    const made = await promisesOf(() => {
      for (let n = 0; n < 500; n++) expect(reads.decode(bytes)).toEqual({ n: 1, name: 'a' })
      for (let n = 0; n < 500; n++) writes.encode({ n, name: 'a' })
      return Promise.resolve()
    })
    expect(made).toBeLessThan(10)
  })

  it('values of another version are seen by the own one; without a schema the latest of the subject is written', async () => {
    const old = (await serde({ schema: avro([N]) }).encode({ n: 7 } as never)) as Buffer
    const now = serde({ schema: avro([N, { ...NAME, default: '?' }]) })
    expect({ ...(await now.decode(old)) }).toEqual({ n: 7, name: '?' })
    expect({ ...(now.decode(old) as Order) }).toEqual({ n: 7, name: '?' })
    const latest = registrySerde<Order>(client(), { subject: 'orders-value' })
    expect(((await latest.encode({ n: 1, name: 'a' })) as Buffer).readInt32BE(1)).toBe(2)
  })

  it('subjects', () => {
    expect([topicSubject('t'), topicSubject('t', 'key'), recordSubject('shop.Order'), topicRecordSubject('t', 'shop.Order')]).toEqual([
      't-value',
      't-key',
      'shop.Order',
      't-shop.Order',
    ])
  })

  it('bad options are refused by name', () => {
    expect(() => registrySerde({} as never, { subject: 'x' })).toThrow(/a SchemaRegistry of @kafkajs/)
    expect(() => registrySerde(client(), { subject: '', compatibility: 'SOME' as never })).toThrow(/subject[^]*compatibility/)
  })

  const copy =
    (from = serde(), to = from) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(
        decode(z.object({ n: z.number(), name: z.string() }), { from }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out', value: to }),
      )
  const run = (project: (records: RecordStream) => Observable<unknown>, records: number): Promise<unknown> =>
    runUntil(cluster, { group: 'g', topics: ['in'], records, options: { retryDelay: 5 } }, project)
  const fed = async (): Promise<Buffer> => {
    const bytes = (await serde().encode({ n: 1, name: 'a' })) as Buffer
    await cluster.produce({
      topic: 'in',
      records: [bytes, hex('00 000000ff 01'), Buffer.from('{}'), hex('00 00'), bytes].map((value) => ({ value })),
    })
    return bytes
  }

  it('an unknown id, another format, a value of another schema: failures of their records, the others go on in order', async () => {
    const bytes = await fed()
    await run(copy(), 5)
    expect((await contents(cluster, 'out')).map(({ value }) => value)).toEqual([bytes.toString(), bytes.toString()])
    expect(await contents(cluster, 'dead')).toHaveLength(3)
  })

  it('a registry that is down is waited for; with fail it fails the records', async () => {
    await fed()
    const from = serde()
    registry.status = 503
    const running = run(copy(from), 5)
    await until(() => registry.asked.length > 2)
    expect(await contents(cluster, 'dead')).toHaveLength(0)
    registry.status = undefined
    await running
    expect(await contents(cluster, 'out')).toHaveLength(2)
    registry.status = 401
    await runUntil(cluster, { group: 'other', topics: ['in'], records: 5 }, copy(serde({ onUnavailable: 'fail' })))
    expect(await contents(cluster, 'dead')).toHaveLength(3 + 5)
    await registry.close()
    await expect(serde().encode({ n: 1, name: 'a' })).rejects.toMatchObject({ code: 'SERDE_UNAVAILABLE' })
  })

  it('a schema that is not compatible ends the pipeline: no record is to blame', async () => {
    await fed()
    registry.compatible = () => false
    await expect(run(copy(serde(), serde({ schema: avro([{ name: 'n', type: 'string' }]) })), 5)).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining("'orders-value' is refused") as string,
    })
    expect(await contents(cluster, 'dead')).toEqual([])
  })

  it('a table of such values', async () => {
    const value = (await serde().encode({ n: 5, name: 'five' })) as Buffer
    await cluster.produce({ topic: 'rows', records: [{ key: 'a', value }] })
    await cluster.produce({ topic: 'in', records: [{ key: 'a', value: 'x' }] })
    const rows = table({ topic: 'rows', value: serde() })
    await run(
      (records) =>
        records.pipe(
          joinTable(rows, { join: (_, row) => row.name }),
          map((one) => one),
          toTopic({ topic: 'out' }),
        ),
      1,
    )
    expect(await contents(cluster, 'out')).toMatchObject([{ value: 'five' }])
  })
})
