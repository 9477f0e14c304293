// An alert when a minute of a sensor is far from its last five: windows, then a store of your own.
import { filter } from 'rxjs'
import { average, json, store, toTopic, tumbling, window, withStore, withTransaction } from 'millrace'
import { example } from './example.js'

const { cluster, group, topics, fill, until, show } = await example('anomalies', ['readings', 'alerts'], 1)

const START = Date.parse('2026-01-01T12:00:00Z')
const degrees = [20, 21, 20, 22, 21, 55, 21, 20, 0]
await fill(
  'readings',
  degrees.flatMap((value, minute) =>
    [0, 20, 40].map((second) => ({ key: 'boiler', value: String(value), timestamp: START + minute * 60_000 + second * 1_000 })),
  ),
)

/** The last minutes of each sensor. */
const recent = store<number[]>({ name: 'recent' })

await until(
  degrees.length * 3,
  cluster.source({ group, topics: [topics.readings] }).pipe(
    withTransaction(
      (readings) =>
        readings.pipe(
          window(tumbling('1m'), { aggregate: average((reading) => Number(reading.value)) }),
          withStore(recent, (before, minute) => {
            const { start, result } = minute.value
            const last = before.get(minute.key) ?? []
            before.put(minute.key, [...last, result].slice(-5))
            const usual = last.reduce((sum, value) => sum + value, 0) / last.length
            return minute.with({ value: { minute: new Date(start).toISOString().slice(11, 16), result, usual } })
          }),
          filter(({ value }) => Math.abs(value.result - value.usual) > 15),
          toTopic({ topic: topics.alerts, value: json() }),
        ),
      { provision: true },
    ),
  ),
)
await show('alerts')
await cluster.close()
