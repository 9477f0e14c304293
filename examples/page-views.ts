// Views of each page by minute of event time; what comes when its minute was closed goes to a topic of its own.
import { map } from 'rxjs'
import { count, json, toTopic, tumbling, window, withTransaction } from 'millrace'
import { example } from './example.js'

const { cluster, group, topics, fill, until, show } = await example('page-views', ['views', 'views-by-minute', 'late-views'], 1)

const at = (time: string): number => Date.parse(`2026-01-01T12:${time}Z`)
await fill('views', [
  { key: '/home', value: 'ada', timestamp: at('00:10') },
  { key: '/docs', value: 'ada', timestamp: at('00:40') },
  { key: '/home', value: 'blaise', timestamp: at('01:05') },
  // Out of order, but within the grace: it still counts for its minute.
  { key: '/home', value: 'blaise', timestamp: at('00:50') },
  { key: '/docs', value: 'blaise', timestamp: at('02:30') },
  // Its minute was closed by the one before.
  { key: '/docs', value: 'carl', timestamp: at('00:59') },
  { key: '/home', value: 'carl', timestamp: at('05:00') },
])

await until(
  7,
  cluster.source({ group, topics: [topics.views] }).pipe(
    withTransaction(
      (views) =>
        views.pipe(
          window(tumbling('1m'), {
            aggregate: count(),
            grace: '30s',
            late: (late) =>
              late.pipe(
                map(({ record }) => record),
                toTopic({ topic: topics['late-views'] }),
              ),
          }),
          toTopic({ topic: topics['views-by-minute'], value: json() }),
        ),
      { provision: true },
    ),
  ),
)
const minute = (ms: number): string => new Date(ms).toISOString().slice(11, 16)
await show('views-by-minute', (page, value) => {
  const { start, result } = JSON.parse(value) as { start: number; result: number }
  return `${minute(start)} ${page} ${result}`
})
await show('late-views')
await cluster.close()
