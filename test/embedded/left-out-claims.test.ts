import { map } from 'rxjs'
import { expect, it } from 'vitest'
import { dedupe, header, memoryClaims, toTopic, withTransaction, type ErrorPolicy, type RawRecord } from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

const POLICIES: readonly ErrorPolicy[] = ['skip', { deadLetter: 'dead' }]

it.each(POLICIES)('what onError takes out (%j) leaves no claim, though heartbeats fail meanwhile', async (onError) => {
  const kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} } })
  const store = memoryClaims({ clock: kit.clock })
  kit.run(
    kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
      withTransaction(
        (records) =>
          records.pipe(
            dedupe({ by: header('id'), within: '1d', store }),
            map((record: RawRecord) => {
              if (String(record.value) === 'poison') throw new Error('poison')
              return record
            }),
            toTopic({ topic: 'out' }),
          ),
        { onError, retries: 1, retryDelay: 10 },
      ),
    ),
  )
  await kit.advance('1s')
  kit.broker.faults.inject({ at: 'heartbeat', reaction: 'retry', times: 6 })
  await kit.feed('in', { value: 'poison', headers: { id: 'a' } })
  await kit.advance('1m')
  await kit.feed('in', [
    { value: 'first', headers: { id: 'a' } },
    { value: 'second', headers: { id: 'a' } },
  ])
  await kit.advance('10s')
  expect((await kit.read('out')).map(({ value }) => value)).toEqual(['first'])
  await kit.stop()
})
