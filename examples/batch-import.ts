// A file of lines into a topic, and its sums by category out of it. Started again after a crash it imports twice, and still counts once.
import { createReadStream } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { aggregate, decode, dedupe, dropFailed, json, recordKey, repartition, sum, toTopic, withTransaction } from 'millrace'
import { z } from 'zod'
import { example } from './example.js'

const Sale = z.object({ category: z.string(), cents: z.number().int() })

const { cluster, group, topics, until } = await example('batch-import', ['sales', 'sums'])

const file = join(tmpdir(), `sales-${process.pid}.csv`)
await writeFile(file, Array.from({ length: 1_000 }, (_, i) => `sale-${i},${['books', 'lamps', 'rugs'][i % 3]},${i}`).join('\n'))

/** Line by line, as fast as the topic takes them: the file is never in memory whole. */
async function* sales(): AsyncGenerator<{ key: string; value: string }> {
  for await (const line of createInterface({ input: createReadStream(file) })) {
    const [id = '', category, cents] = line.split(',')
    yield { key: id, value: JSON.stringify({ category, cents: Number(cents) }) }
  }
}
for (let run = 0; run < 2; run++) console.log(`imported: ${await cluster.produce({ topic: topics.sales, records: sales() })}`)

const summed = cluster
  .source({ group, topics: [topics.sales] })
  .pipe(
    withTransaction(
      (records) =>
        records.pipe(
          dedupe({ by: recordKey(), within: '1d' }),
          decode(Sale),
          dropFailed(),
          repartition({ key: (sale) => sale.value.category, value: json<z.infer<typeof Sale>>() }),
          aggregate(sum((sale) => sale.value.cents)),
          toTopic({ topic: topics.sums, value: json() }),
        ),
      { provision: true },
    ),
  )
// 2,000 lines, and the 1,000 that are new once more under their category.
await until(3_000, summed)
const last = new Map<string, string>()
for await (const { key, value } of cluster.read({ topic: topics.sums })) last.set(String(key), String(value))
for (const [category, cents] of [...last].sort()) console.log(`${category}: ${cents}`)
await rm(file)
await cluster.close()
