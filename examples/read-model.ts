// Events become a read model in a database, which HTTP reads; a second version is built beside it and takes over.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { lastValueFrom } from 'rxjs'
import { PGlite } from '@electric-sql/pglite'
import { decode, dropFailed, json, project, readModel, withTransaction } from 'millrace'
import { pglite } from 'millrace/pglite'
import { z } from 'zod'
import { example } from './example.js'

const Order = z.object({ customer: z.string(), amount: z.number() })

const { cluster, group, topics } = await example('read-model', ['orders'])
const sql = await PGlite.create()
const db = pglite(sql)

const columns = { 1: 'id text PRIMARY KEY, total integer', 2: 'id text PRIMARY KEY, total integer, largest integer' }
const customers = (version: 1 | 2) => readModel(db, { name: group, version, tables: { customers: columns[version] } })
const stopping = new AbortController()
const build = (model: ReturnType<typeof customers>): Promise<unknown> =>
  lastValueFrom(
    cluster.source({ group: model.group, topics: [topics.orders], signal: stopping.signal }).pipe(
      withTransaction((records) =>
        records.pipe(
          decode(Order),
          dropFailed(),
          project(model, ({ customers: table }) => async (tx, orders) => {
            const [more, set] = model.version === 1 ? ['', ''] : [', $2', ', largest = greatest(c.largest, $2)']
            const sql = `INSERT INTO ${table} AS c VALUES ($1, $2::int${more}) ON CONFLICT (id) DO UPDATE SET total = c.total + $2${set}`
            // Each order is added once, whatever fails: so adding up is safe.
            for (const { value } of orders) await tx.query(sql, [value.customer, value.amount])
          }),
        ),
      ),
    ),
    { defaultValue: undefined },
  )

const producer = cluster.producer({ topic: topics.orders, value: json<z.infer<typeof Order>>() })
const server = createServer((request, response) => {
  const answer = (status: number, body: unknown): void => void response.writeHead(status).end(JSON.stringify(body))
  void (async () => {
    if (request.method === 'POST') {
      const order = Order.parse(JSON.parse(await text(request)))
      const { partition, offset } = await producer.send({ key: order.customer, value: order })
      return answer(202, { after: `${partition}.${offset}` })
    }
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    // Who gives what a POST was answered reads what came of it.
    const [partition, offset] = (searchParams.get('after') ?? '').split('.').map(Number)
    if (offset !== undefined) await customers(1).waitFor([{ topic: topics.orders, partition: partition as number, offset }])
    const { rows } = await sql.query('SELECT * FROM customers WHERE id = $1', [pathname.slice(1)])
    answer(rows.length === 0 ? 404 : 200, rows[0] ?? {})
  })().catch((error: Error) => answer(400, { error: error.message }))
})
await new Promise<void>((resolve) => server.listen(0, resolve))
const url = `http://localhost:${(server.address() as AddressInfo).port}`

// What clients would do:
const running = [build(customers(1))]
for (const amount of [10, 30, 20]) {
  const { after } = (await (await fetch(url, { method: 'POST', body: JSON.stringify({ customer: 'ada', amount }) })).json()) as {
    after: string
  }
  console.log(await (await fetch(`${url}/ada?after=${after}`)).text())
}
running.push(build(customers(2)))
while ((await customers(2).live())?.version !== 2) await new Promise((resolve) => setTimeout(resolve, 20))
console.log(await (await fetch(`${url}/ada`)).text())
for (const { version, state } of await customers(2).history()) console.log(`version ${version} is ${state}`)

stopping.abort()
await Promise.all(running)
await new Promise((resolve) => server.close(resolve))
await cluster.close()
await sql.close()
