import { map } from 'rxjs'
import { count, json, toTopic, tumbling, window, withTransaction, type Cluster } from '../../../src/index.js'

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'views-by-minute', topics: ['views'] }).pipe(
    withTransaction(
      (views) =>
        views.pipe(
          window(tumbling('1m'), {
            aggregate: count(),
            grace: '10s',
            late: (late) =>
              late.pipe(
                map(({ record }) => record),
                toTopic({ topic: 'views-too-late' }),
              ),
          }),
          toTopic({ topic: 'views-by-minute', value: json() }),
        ),
      { provision: true },
    ),
  )
