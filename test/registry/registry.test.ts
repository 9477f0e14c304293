import { SchemaRegistry } from '@kafkajs/confluent-schema-registry'
import { map } from 'rxjs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { deadLetter, decode, embedded, silentLogger, toTopic, type MillraceError } from '../../src/index.js'
import { registrySerde, topicSubject, type RegistrySerdeOptions } from '../../src/schema-registry/index.js'
import { startRegistry, type Registry } from '../support/apicurio.js'
import { contents, runUntil } from '../support/pipelines.js'
import { z } from 'zod'

const avro = (...fields: object[]) => ({
  type: 'AVRO' as const,
  schema: JSON.stringify({ type: 'record', name: 'Order', namespace: 'shop', fields }),
})
const N = { name: 'n', type: 'long' }
const NAME = { name: 'name', type: 'string' }
const PROTO = {
  type: 'PROTOBUF' as const,
  schema: `syntax = "proto3";
package shop;
message Order { int32 n = 1; string name = 2; }
message Refund { string reason = 1; }
`,
}
const JSON_SCHEMA = {
  type: 'JSON' as const,
  schema: JSON.stringify({ type: 'object', properties: { n: { type: 'integer' }, name: { type: 'string' } }, required: ['n'] }),
}

/** Apicurio's registry, by its interface for clients of Confluent's. Its 140 MB are fetched, once, by `npm run test:registry` alone. */
describe('a real schema registry', () => {
  let registry: Registry

  beforeAll(async () => {
    registry = await startRegistry()
  }, 120_000)
  afterAll(() => registry.stop())

  const client = (): SchemaRegistry => new SchemaRegistry({ host: registry.url, retry: { retries: 0 } })
  const serde = (subject: string, options: Partial<RegistrySerdeOptions> = {}) =>
    registrySerde<object>(client(), { subject: topicSubject(subject), ...options })

  it.each([
    ['Avro', { schema: avro(N, NAME) }, { n: 21, name: 'é' }, '2a04c3a9'],
    ['JSON', { schema: JSON_SCHEMA }, { n: 21 }, Buffer.from('{"n":21}').toString('hex')],
    ['Protobuf', { schema: PROTO }, { n: 21, name: 'é' }, '0008151202c3a9'],
    ['Protobuf, the second message', { schema: PROTO, message: 'Refund' }, { reason: 'x' }, '02020a0178'],
  ])('%s: registered by who writes, found by its id by who reads', async (name, options, value, golden) => {
    const subject = name.replaceAll(/\W/g, '')
    const bytes = (await serde(subject, options).encode(value)) as Buffer
    expect([bytes[0], bytes.subarray(5).toString('hex')]).toEqual([0, golden])
    const found = (await (await fetch(`${registry.url}/schemas/ids/${bytes.readInt32BE(1)}`)).json()) as { schema: string }
    expect(found.schema).toContain('n')
    expect({ ...(await serde(subject).decode(bytes)) }).toMatchObject(value)
  })

  it('takes a compatible next version, refuses another, and reads what was written by either', async () => {
    const first = serde('evolving', { schema: avro(N) })
    const second = serde('evolving', { schema: avro(N, { ...NAME, default: '-' }) })
    const [one, two] = [(await first.encode({ n: 1 })) as Buffer, (await second.encode({ n: 2, name: 'b' })) as Buffer]
    expect(one.readInt32BE(1)).not.toBe(two.readInt32BE(1))
    expect(await second.decode(one)).toMatchObject({ n: 1, name: '-' })
    expect(await second.decode(two)).toMatchObject({ n: 2, name: 'b' })
    const third = serde('evolving', { schema: avro({ name: 'n', type: 'string' }) })
    await expect(Promise.resolve(third.encode({ n: 'x' }))).rejects.toMatchObject({ code: 'INVALID_OPTIONS' })
  })

  it('in a pipeline: an unknown id and other bytes are failures of their records; while it is away the pipeline would wait', async () => {
    const cluster = embedded({ logger: silentLogger })
    await cluster.createTopics(['in', 'out', 'dead'].map((topic) => ({ topic, partitions: 1 })))
    const orders = serde('orders', { schema: avro(N, NAME) })
    const values = [
      await orders.encode({ n: 1, name: 'a' }),
      Buffer.from('00000f423f02', 'hex'),
      'text',
      await orders.encode({ n: 2, name: 'b' }),
    ]
    await cluster.produce({ topic: 'in', records: values.map((value) => ({ value: value as Buffer })) })
    await runUntil(cluster, { group: 'g', topics: ['in'], records: 4, options: { provision: true } }, (records) =>
      records.pipe(
        decode(z.object({ n: z.number(), name: z.string() }), { from: orders as never }),
        deadLetter({ topic: 'dead' }),
        map((order) => order.with({ value: { ...order.value, n: order.value.n + 1 } })),
        toTopic({ topic: 'out', value: orders }),
      ),
    )
    expect(await contents(cluster, 'dead')).toHaveLength(2)
    const read = serde('orders')
    const out: unknown[] = []
    for await (const { value } of cluster.read({ topic: 'out' })) out.push({ ...(await read.decode(value as Buffer)) })
    expect(out).toMatchObject([
      { n: 2, name: 'a' },
      { n: 3, name: 'b' },
    ])
    await cluster.close()
    await registry.stop()
    const error = (await Promise.resolve(serde('other', { schema: avro(N) }).encode({ n: 1 })).catch(
      (failure: unknown) => failure,
    )) as MillraceError
    expect(error.code).toBe('SERDE_UNAVAILABLE')
  })
})
