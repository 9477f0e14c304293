import { delay, filter } from 'rxjs'
import { TestScheduler } from 'rxjs/testing'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { decode, dropFailed, json, toTopic, type RecordStream, type StreamRecord } from '../../src/index.js'
import { record, sliceOf } from '../../src/testing/index.js'

const Reading = z.object({ sensor: z.string(), celsius: z.number() })
type Reading = z.infer<typeof Reading>

const alarms = (readings: RecordStream) =>
  readings.pipe(
    decode(Reading),
    dropFailed(),
    filter(({ value }) => value.celsius > 80),
    toTopic({ topic: 'alarms', value: json() }),
  )

it('raises an alarm above 80 °C', () => {
  const run = sliceOf(
    [
      { key: 's1', value: '{"sensor":"s1","celsius":79}' },
      { key: 's1', value: '{"sensor":"s1","celsius":81}' },
      { key: 's2', value: 'broken' },
    ],
    alarms,
    { topics: { alarms: { value: json<Reading>() } } },
  )
  expect(run.written('alarms')).toMatchObject([{ key: 's1', value: { celsius: 81 } }])
  expect(run.counts).toMatchObject({ records: 3, processed: 1, filtered: 1, failed: 1 })
})

it('keeps the pace of its input', () => {
  const scheduler = new TestScheduler((actual, expected) => expect(actual).toEqual(expected))
  scheduler.run(({ cold, expectObservable }) => {
    const hot = record({ key: 's1', value: { sensor: 's1', celsius: 90 } })
    const run = sliceOf(cold('a--a--|', { a: hot }), (readings) =>
      readings.pipe(
        filter(({ value }) => value.celsius > 80),
        delay(1),
      ),
    )
    const out = expect.objectContaining({ key: 's1', timestamp: -1 }) as StreamRecord<string, Reading>
    expectObservable(run.output).toBe('-x--x-|', { x: out })
  })
})
