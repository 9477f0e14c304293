import { map } from 'rxjs'
import type { RawRecord, WindowOptions } from '../../../src/index.js'
import type { Pipeline } from './index.js'
import { library } from './library.js'

const { aggregator, json, toTopic, tumbling, window } = library

const numbers = aggregator<RawRecord, number[]>({
  name: 'numbers',
  init: () => [],
  add(state, { value }) {
    state.push(Number(String(value).split('|')[0]))
    return state
  },
})

/** Windows of one second of event time that take records for 50 ms more; by the clock too, where `closeWhenIdle` says so. */
export function windows(more: Pick<WindowOptions<RawRecord, number[], number[]>, 'closeWhenIdle'> = {}): Pipeline['project'] {
  return ({ out, late }) =>
    (records) =>
      records.pipe(
        window(tumbling('1s'), {
          aggregate: numbers,
          grace: 50,
          late: (ones) =>
            ones.pipe(
              map(({ record }) => record),
              toTopic({ topic: late }),
            ),
          ...more,
        }),
        toTopic({ topic: out, value: json() }),
      )
}

export const pipeline: Pipeline = { project: windows() }
