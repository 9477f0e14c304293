import type { Pipeline } from './index.js'
import { library } from './library.js'

const { delayUntil, toTopic } = library

export const pipeline: Pipeline = {
  project:
    ({ out }) =>
    (records) =>
      records.pipe(
        delayUntil(({ value }) => Number(String(value).split('|')[1])),
        toTopic({ topic: out }),
      ),
}
