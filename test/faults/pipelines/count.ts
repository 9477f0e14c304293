import type { Pipeline } from './index.js'
import { library } from './library.js'

const { aggregate, count, json, toTopic } = library

export const pipeline: Pipeline = {
  project:
    ({ out }) =>
    (records) =>
      records.pipe(aggregate(count(), { emit: 'each' }), toTopic({ topic: out, value: json() })),
}
