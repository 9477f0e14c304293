import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { embedded, json, type Cluster } from '../../src/index.js'

interface Order {
  id: string
  amount: number
}

const valuesOf = async (cluster: Cluster, topic: string): Promise<string[]> => {
  const values = []
  for await (const { value } of cluster.read({ topic })) values.push(String(value))
  return values
}

// Each block of docs/producer.md, as it stands there.
it('what docs/producer.md shows', async () => {
  const cluster = embedded()
  await cluster.createTopics([{ topic: 'orders' }, { topic: 'lines' }])
  const orders = cluster.producer<string, Order>({ topic: 'orders', value: json<Order>() })
  const server = createServer(async (request, response) => {
    const order = JSON.parse(await text(request)) as Order
    const { partition, offset } = await orders.send({ key: order.id, value: order })
    response.end(JSON.stringify({ partition, offset }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const answer = await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: JSON.stringify({ id: 'o1', amount: 3 }) })
  expect(await answer.json()).toEqual({ partition: 0, offset: 0 })
  server.close()

  const readLines = async function* (_file: string): AsyncGenerator<{ value: string }> {
    yield { value: 'one' }
    yield { value: 'two' }
  }
  {
    await using producer = cluster.producer({ topic: 'lines' })
    await producer.sendBatch(readLines('in.txt'))
  }
  expect(await valuesOf(cluster, 'lines')).toEqual(['one', 'two'])

  await orders.transaction(async (tx) => {
    await tx.send({ key: 'a', value: { id: 'a', amount: -5 } })
    await tx.send({ key: 'b', value: { id: 'b', amount: 5 } })
  })

  const audited: string[] = []
  const audit = async ({ value }: { value: Buffer | null }): Promise<void> => void audited.push((JSON.parse(String(value)) as Order).id)
  for await (const record of cluster.consume({ topics: ['orders'], group: 'audit', until: 'end' })) {
    await audit(record)
  }
  expect(audited).toEqual(['o1', 'a', 'b'])
  await cluster.close()
})

it('shows nothing else', () => {
  const read = (path: string): string => readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8')
  const bare = (code: string): string[] => code.split('\n').map((line) => line.trim())
  const here = bare(read('docs-producer.test.ts'))
  // What a test cannot do: a real cluster, and the end of its own process.
  const elsewhere = /^(import .*|const cluster = kafka.*|process\.once.*|await orders\.close\(\)|)$/
  const blocks = [...read('../../docs/producer.md').matchAll(/```ts\n([\s\S]*?)```/g)].flatMap(([, code]) => bare(code as string))
  expect(blocks.filter((line) => !elsewhere.test(line) && !here.includes(line))).toEqual([])
})
