// Compiled, never run: what must and must not type-check of dedupe.
import { map, type Observable } from 'rxjs'
import { type Cluster as RedisCluster, type Redis } from 'ioredis'
import {
  contentHash,
  dedupe,
  header,
  keepResult,
  memoryClaims,
  recordKey,
  redisClaims,
  taskClaims,
  toTopic,
  type FailedRecord,
  type ProcessedId,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'

declare const records: RecordStream
declare const mixed: Observable<StreamRecord<Buffer, { readonly id: string; readonly amount: number }> | FailedRecord>

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function expectType<Expected>() {
  return <Actual>(_actual: Actual, _same: Equal<Actual, Expected>): void => {}
}

// What comes out is what went in, failures included; functions see the good ones, with their type.
expectType<typeof mixed>()(mixed.pipe(dedupe({ by: (order) => order.value.id, within: '10m' })), true)
mixed.pipe(
  dedupe({
    by: header('id'),
    within: 1_000,
    onDuplicate: (all) =>
      all.pipe(
        map(({ record, first }) => record.with({ value: `${record.value.amount} ${first.origin.offset}` })),
        toTopic({ topic: 'again' }),
      ),
  }),
)
mixed.pipe(
  dedupe({ by: recordKey(), within: '1d' }),
  keepResult({ by: (order) => order.value.id, result: (order) => String(order.value.amount) }),
)
records.pipe(dedupe({ by: contentHash(), within: '1h' }), toTopic({ topic: 'out' }))

// @ts-expect-error an id is text
mixed.pipe(dedupe({ by: (order) => order.value.amount, within: '10m' }))
// @ts-expect-error the record has no such field
mixed.pipe(dedupe({ by: (order) => order.value.number, within: '10m' }))
// @ts-expect-error how long is for the user to say
mixed.pipe(dedupe({ by: recordKey() }))

declare const redis: Redis
declare const cluster: RedisCluster
const claims = redisClaims({ client: redis, prefix: 'a:' })
redisClaims({ client: cluster, prefix: 'a:' })
redisClaims({ url: 'redis://localhost', prefix: 'a:' })
// @ts-expect-error one of the two
redisClaims({ url: 'redis://localhost', client: redis, prefix: 'a:' })
// @ts-expect-error what the ids are ids of
redisClaims({ url: 'redis://localhost' })

records.pipe(dedupe({ by: recordKey(), within: '1h', store: claims, bloom: { expected: 1_000, exclusive: true } }))
// @ts-expect-error a filter is right only before ids that nobody else claims
records.pipe(dedupe({ by: recordKey(), within: '1h', store: claims, bloom: { expected: 1_000 } }))

expectType<Promise<ProcessedId | undefined>>()(memoryClaims().find('x'), true)
expectType<ProcessedId | undefined>()(taskClaims().find('x'), true)
