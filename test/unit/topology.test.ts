import { filter, map, merge, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  attempt,
  compose,
  count,
  deadLetter,
  dedupe,
  describe as describePipeline,
  embedded,
  header,
  json,
  mapValue,
  repartition,
  retryTopic,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type RecordStream,
} from '../../src/index.js'

const stepsOf = (project: (records: RecordStream) => Observable<unknown>): string[] => {
  const { steps } = describePipeline(
    embedded()
      .source({ group: 'g', topics: ['in'] })
      .pipe(withTransaction(project)),
  )
  return steps.map(({ name, after, writes, keeps, readsBack }) => {
    const from = after === undefined ? 'source' : (steps[after]?.name as string)
    return [
      `${from} > ${name}`,
      ...writes.map((to) => `> ${to}`),
      ...keeps.map((to) => `= ${to}`),
      ...readsBack.map((to) => `< ${to}`),
    ].join(' ')
  })
}

describe('how the steps of a pipeline hang together', () => {
  it('a pipe with side outputs, stores and topics of its own; operators of RxJS are passed over', () => {
    const again = (items: Observable<{ readonly record: never }>): Observable<unknown> =>
      items.pipe(
        map(({ record }) => record),
        toTopic({ topic: 'again' }),
      )
    expect(
      stepsOf((records) =>
        records.pipe(
          attempt((record) => record),
          retryTopic({ delays: ['1m'] }),
          deadLetter({ topic: 'dead' }),
          filter(() => true),
          dedupe({ by: header('id'), within: '1d', onDuplicate: again as never }),
          window(tumbling('1m'), { aggregate: count() }),
          toTopic({ topic: 'out', value: json() }),
        ),
      ),
    ).toEqual([
      'source > attempt',
      'attempt > retryTopic > in.g.retry.1m < in.g.retry.1m',
      'retryTopic > deadLetter dead > dead',
      "deadLetter dead > dedupe 'dedupe' = dedupe",
      "dedupe 'dedupe' > window 'window' = window",
      "window 'window' > toTopic out > out",
      "dedupe 'dedupe' > toTopic again > again",
    ])
  })

  it('branches, pieces and what stands behind a merge', () => {
    const piece = compose(
      'by-user',
      mapValue((value: unknown) => ({ user: String(value) })) as never,
      repartition({ key: () => 'a', value: json() } as never) as never,
    )
    expect(
      stepsOf((records) =>
        merge(
          records.pipe(toTopic({ topic: 'a' })),
          records.pipe(piece as never, toTopic({ topic: 'b', value: json() } as never) as never),
        ).pipe(toTopic({ topic: 'c' } as never) as never),
      ),
    ).toEqual([
      'source > toTopic a > a',
      'source > mapValue',
      "mapValue > repartition 'repartition' > g-repartition-repartition < g-repartition-repartition",
      "repartition 'repartition' > toTopic b > b",
      'source > toTopic > c',
    ])
  })
})
