import type { FailedRecord, RawRecord } from '../../../src/index.js'
import type { Pipeline } from './index.js'
import { library } from './library.js'

const { attempt, deadLetter, deliveryAttempt, retryTopic, toTopic } = library

export const pipeline: Pipeline = {
  project:
    ({ out, dead }) =>
    (records) =>
      records.pipe(
        attempt(
          async (record: RawRecord) => {
            await new Promise<void>((resolve) => setImmediate(resolve))
            if (deliveryAttempt(record) <= Number(String(record.value).split('|')[1])) throw new Error('not yet')
          },
          { concurrency: 16 },
        ),
        retryTopic<RawRecord | FailedRecord>({ delays: ['200ms', '400ms'], ordered: 'key' }),
        deadLetter({ topic: dead }),
        toTopic({ topic: out }),
      ),
}
