// Reminders that go out at a time of their own, unless they are moved or cancelled before; they survive restarts.
import { decode, dropFailed, json, schedule, toTopic, withTransaction } from 'millrace'
import { lastValueFrom, takeWhile } from 'rxjs'
import { z } from 'zod'
import { example } from './example.js'

const Reminder = z.object({ text: z.string(), at: z.number(), cancelled: z.boolean().optional() })

const { cluster, group, topics, fill, until, show } = await example('reminders', ['reminders', 'due'])

const pipeline = cluster
  .source({ group, topics: [topics.reminders] })
  .pipe(
    withTransaction(
      (reminders) =>
        reminders.pipe(
          decode(Reminder),
          dropFailed(),
          schedule({ at: ({ value }) => value.at, cancel: ({ value }) => value.cancelled === true, value: json() }),
          toTopic({ topic: topics.due, value: json() }),
        ),
      { provision: true },
    ),
  )

await fill('reminders', [{ key: 'hello', value: { text: 'it works', at: 0 } }])
await until(1, pipeline)

const soon = (ms: number): number => Date.now() + ms
await fill('reminders', [
  { key: 'dentist', value: { text: 'dentist on Monday', at: soon(6_000) } },
  { key: 'flowers', value: { text: 'buy flowers', at: soon(5_000) } },
  { key: 'taxes', value: { text: 'pay taxes', at: soon(5_000) } },
  // Replaces the one that waits: a reminder goes by its key.
  { key: 'dentist', value: { text: 'dentist on Tuesday', at: soon(0) } },
  { key: 'taxes', value: { text: 'pay taxes', at: 0, cancelled: true } },
])
let out = 0
await lastValueFrom(pipeline.pipe(takeWhile((commit) => (out += commit.outputs) < 2, true)))
await show('due', (key, value) => `${key}: ${(JSON.parse(value) as { text: string }).text}`)
await cluster.close()
