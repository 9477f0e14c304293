import { filter } from 'rxjs'
import type { Pipeline } from './index.js'
import { library } from './library.js'

const { joinStream, string, toTopic } = library

const number = (value: unknown): string => String(value).split('|')[0] as string

export const pipeline: Pipeline = {
  project:
    ({ inputs, out }) =>
    (records) => {
      const [left, right] = inputs.map((topic) => records.pipe(filter(({ origin }) => origin.topic === topic)))
      if (left === undefined || right === undefined) throw new Error('a join has two inputs')
      return left.pipe(
        joinStream(right, { within: 40, grace: '1d', join: (one, other) => `${number(one.value)}+${number(other.value)}` }),
        toTopic({ topic: out, value: string() }),
      )
    },
}
