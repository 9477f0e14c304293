// Visits: what one user does with no pause of more than half an hour.
import { aggregator, json, session, toTopic, window, withTransaction, type RawRecord } from 'millrace'
import { example } from './example.js'

const { cluster, group, topics, fill, until, show } = await example('sessions', ['clicks', 'visits'], 1)

const at = (time: string): number => Date.parse(`2026-01-01T${time}:00Z`)
await fill('clicks', [
  { key: 'ada', value: '/home', timestamp: at('09:00') },
  { key: 'ada', value: '/docs', timestamp: at('09:20') },
  { key: 'blaise', value: '/home', timestamp: at('09:25') },
  // The last of them joins what would else be two visits of blaise.
  { key: 'blaise', value: '/buy', timestamp: at('10:05') },
  { key: 'blaise', value: '/docs', timestamp: at('09:45') },
  { key: 'ada', value: '/pricing', timestamp: at('11:00') },
  { key: 'clock', value: '', timestamp: at('13:00') },
])

/** The pages of a visit. Visits that turn out to be one are merged. */
const pages = aggregator({
  name: 'pages',
  init: (): string[] => [],
  add: (seen, click: RawRecord) => [...seen, String(click.value)],
  merge: (earlier, later) => [...earlier, ...later],
  result: (seen) => seen.toSorted(),
})

await until(
  7,
  cluster.source({ group, topics: [topics.clicks] }).pipe(
    withTransaction(
      (clicks) =>
        clicks.pipe(
          // Grace: how long after its end a visit still takes clicks that come out of order.
          window(session('30m'), { aggregate: pages, grace: '1h' }),
          toTopic({ topic: topics.visits, value: json() }),
        ),
      { provision: true },
    ),
  ),
)
await show('visits', (user, value) => {
  const { start, end, result } = JSON.parse(value) as { start: number; end: number; result: string[] }
  return `${user} ${(end - start) / 60_000} minutes: ${result.join(' ')}`
})
await cluster.close()
