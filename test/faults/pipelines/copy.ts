import { filter } from 'rxjs'
import type { Pipeline } from './index.js'
import { library } from './library.js'

export const pipeline: Pipeline = {
  project:
    ({ out }) =>
    (records) =>
      records.pipe(
        filter(({ value }) => !String(value).endsWith('|drop')),
        library.toTopic({ topic: out, partition: (record) => record.origin.partition }),
      ),
}
