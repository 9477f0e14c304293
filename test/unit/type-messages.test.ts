import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { expect, it } from 'vitest'

const HERE = dirname(fileURLToPath(import.meta.url))

/** What the compiler says of programs, by the names of their functions. */
function errorsOf(program: string): Map<string, string[]> {
  const path = join(HERE, 'mistakes.ts')
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts'],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    types: ['node'],
    noEmit: true,
  }
  const host = ts.createCompilerHost(options)
  const { getSourceFile, fileExists } = host
  host.fileExists = (name) => name === path || fileExists(name)
  host.getSourceFile = (name, ...rest) =>
    name === path ? ts.createSourceFile(name, program, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest)
  const compiled = ts.createProgram([path], options, host)
  const file = compiled.getSourceFile(path) as ts.SourceFile
  const found = new Map<string, string[]>()
  const names = [...program.matchAll(/function (\w+)\(/g)].map((match) => ({ name: match[1] as string, at: match.index }))
  for (const { name } of names) found.set(name, [])
  for (const { start = 0, messageText } of [...compiled.getSyntacticDiagnostics(file), ...compiled.getSemanticDiagnostics(file)]) {
    const { name } = names.findLast(({ at }) => at <= start) as { name: string }
    found.get(name)?.push(ts.flattenDiagnosticMessageText(messageText, '\n'))
  }
  return found
}

const HEAD = `
import { map, type Observable } from 'rxjs'
import { aggregate, aggregator, attempt, count, deadLetter, dropFailed, joinStream, joinTable, json, mapValue, repartition, route, session, sliding, store, sum, table, toDatabase, toRedis, toTopic, tumbling, upsert, window, withStore, type Database, type FailedRecord, type RecordStream, type RedisSinkClient, type StreamRecord } from '../../src/index.js'
import { toPostgres } from '../../src/sinks/database/postgres.js'
import type { Pool } from 'pg'
type Order = StreamRecord<Buffer, { readonly id: string; readonly amount: number }>
declare const orders: Observable<Order>
declare const db: Database
declare const redis: RedisSinkClient
declare const pool: Pool
declare const mixed: Observable<Order | FailedRecord>
const max = aggregator({ name: 'max', init: () => 0, add: (state, order: Order) => Math.max(state, order.value.amount) })
declare const records: RecordStream
`

// One program for all of them: most of the time goes into reading the types.
const FORGOTTEN = `
function toTopicForgot() { return mixed.pipe(toTopic({ topic: (order) => order.value.id, topics: ['a'], value: json() })) }
function toTopicForgotMore() { return mixed.pipe(map((item) => item), toTopic({ topic: 'out', value: json() }), mapValue((value) => value.amount), toTopic({ topic: 'out', value: json() })) }
function attemptForgot() { return orders.pipe(attempt(async (order) => order.value.amount), toTopic({ topic: 'out', value: json() })) }
function routeForgot() { return mixed.pipe(route({ to: (order) => order.value.id, topics: ['a'], fallback: 'b', value: json() })) }
function repartitionForgot() { return mixed.pipe(repartition({ key: (order) => order.value.id, value: json() })) }
function aggregateForgot() { return mixed.pipe(aggregate(sum((order) => order.value.amount))) }
function windowForgot() { return mixed.pipe(window(tumbling('1m'), { aggregate: sum((order) => order.value.amount) })) }
function joinTableForgot() { return mixed.pipe(joinTable(table({ topic: 't', value: json<string>() }), { join: (order, row) => row + order.value.id })) }
function joinStreamForgot() { return mixed.pipe(joinStream(orders, { within: '1m', join: (a, b) => a.value.amount + b.value.amount })) }
function joinStreamForgotRight() { return orders.pipe(joinStream(mixed, { within: '1m', join: (a, b) => a.value.amount + b.value.amount })) }
function toDatabaseForgot() { return mixed.pipe(toDatabase(db, (tx, records) => tx.query('x', records.map((order) => order.value.amount)))) }
function toDatabaseHelperForgot() { return mixed.pipe(toDatabase(db, upsert({ table: 't', key: { id: (order) => order.id }, columns: {} }))) }
function toPostgresForgot() { return mixed.pipe(toPostgres(pool, async (tx, records) => void (await tx.client.query('x', [records.length]))), map((order) => order.value.amount)) }
function toRedisForgot() { return mixed.pipe(toRedis(redis, (tx, records) => { for (const order of records) tx.incrby('n', order.value.amount) })) }
function storeForgot() { return mixed.pipe(withStore(store<number>({ name: 'n' }), (mine, order) => mine.put(order.value.id, 1))) }
`
const OTHERS = `
function noSerde() { return orders.pipe(toTopic({ topic: 'out' })) }
function sessionWithoutMerge() { return orders.pipe(window(session('1m'), { aggregate: max })) }
function slidingWithoutMerge() { return orders.pipe(window(sliding('1m'), { aggregate: max })) }
function farInThePipe() {
  const n = map((value: number) => value)
  return records.pipe(map((record) => record.origin.offset), n, n, n, n, n, n, n, n, n, n, n, map((value) => [value]), n, n)
}
function unknownField() { return orders.pipe(mapValue((order) => order.total)) }
function rightRows() { return mixed.pipe(dropFailed(), toPostgres(pool, upsert({ table: 't', key: { id: (order) => order.value.id }, columns: { total: (order) => order.value.amount } })), map((order) => order.value.amount)) }
function right() { return mixed.pipe(deadLetter({ topic: 'dead' }), toTopic({ topic: 'out', value: json() }), window(session('1m'), { aggregate: count() })) }
`

it('the compiler says what is wrong in one error and in its first line', { timeout: 120_000 }, () => {
  const errors = errorsOf(HEAD + FORGOTTEN + OTHERS)
  for (const [name, said] of errors) if (!name.startsWith('right')) expect(said, name).toHaveLength(1)
  const firstLines = Object.fromEntries([...errors].map(([name, said]) => [name, said[0]?.split('\n')[0]]))
  for (const [name] of errors) {
    if (!name.includes('Forgot')) continue
    expect(firstLines[name], name).toMatch(
      /FailedRecords would get in here: put deadLetter\(\{ topic \}\), retryTopic\(\{ delays \}\) or dropFailed\(\) before it/,
    )
  }
  expect(errors.get('noSerde')?.[0]).toMatch(/Property 'value' is missing/)
  expect(errors.get('sessionWithoutMerge')?.[0]).toMatch(/Type 'undefined' is not assignable to type 'MergeStates<number>'/)
  expect(errors.get('slidingWithoutMerge')?.[0]).toMatch(/Type 'undefined' is not assignable to type 'MergeStates<number>'/)
  expect(firstLines['farInThePipe']).toBe(
    "Argument of type 'OperatorFunction<number, number[]>' is not assignable to parameter of type 'OperatorFunction<number, number>'.",
  )
  expect(firstLines['unknownField']).toBe("Property 'total' does not exist on type '{ readonly id: string; readonly amount: number; }'.")
  for (const name of ['right', 'rightRows']) expect(errors.get(name)).toEqual([])
})
