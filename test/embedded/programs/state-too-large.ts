/** Fills the heap with state until the pipeline says so, then starts it again; prints how each run ended. Run with a small heap. */
import { filter, type Observable } from 'rxjs'
import { aggregate, aggregator, embedded, withTransaction, type Commit, type Logger } from '../../../src/index.js'

const warnings: string[] = []
const logger: Logger = {
  debug() {},
  info() {},
  warn: (_, text) => void warnings.push(text ?? ''),
  error() {},
}
const cluster = embedded({ logger })
await cluster.createTopics([{ topic: 'in', partitions: 1 }])
// Told from nothing but its own number, so that each is a text of its own.
const latest = aggregator({
  name: 'latest',
  init: () => '',
  add: (_, record: { readonly key: Buffer | null }) => `${String(record.key)}:`.repeat(40),
})
const pipeline = (): Observable<Commit> =>
  cluster.source({ group: 'g', topics: ['in'] }).pipe(
    withTransaction(
      (records) =>
        records.pipe(
          aggregate(latest, { name: 'filling' }),
          filter(() => false),
        ),
      {
        provision: true,
        every: 20,
        maxRecords: 2_000,
      },
    ),
  )

let made = 0
let feeding: Promise<number> | undefined
let stores: Commit['stores'] = []
const produce = (): Promise<number> =>
  cluster.produce({
    topic: 'in',
    records: Array.from({ length: 2_000 }, () => ({ key: `key-${String(made++).padStart(8, '0')}`, value: '' })),
  })
const ended = (): Promise<string> =>
  new Promise((resolve) => {
    pipeline().subscribe({
      next(commit) {
        stores = commit.stores
        feeding = produce()
      },
      error: (error: Error & { readonly code?: string }) => resolve(`${error.code ?? ''} ${error.message}`),
      complete: () => resolve('completed'),
    })
  })

await produce()
console.log(await ended())
console.log(JSON.stringify(stores))
console.log(await ended())
console.log(JSON.stringify(warnings.filter((text) => text.includes('memory'))))
await feeding
await cluster.close()
