import type { Pipeline } from './index.js'
import { library } from './library.js'

const { dedupe, header, redisClaims, toTopic } = library
const { REDIS_URL, REDIS_PREFIX = '' } = process.env
const claims = REDIS_URL === undefined ? undefined : redisClaims({ url: REDIS_URL, prefix: REDIS_PREFIX })

export const pipeline: Pipeline = {
  project:
    ({ out }) =>
    (records) =>
      records.pipe(
        dedupe({ by: header('id'), within: '1d', ...(claims === undefined ? {} : { store: claims }) }),
        toTopic({ topic: out, partition: (record) => record.origin.partition }),
      ),
  close: async () => {
    await claims?.close()
  },
}
