import { map } from 'rxjs'
import { dedupe, header, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'webhooks', topics: ['deliveries'] }).pipe(
    withTransaction(
      (deliveries) =>
        deliveries.pipe(
          dedupe({
            by: header('delivery-id'),
            within: '1d',
            onDuplicate: (again) =>
              again.pipe(
                map(({ record }) => record),
                toTopic({ topic: 'seen-again' }),
              ),
          }),
          toTopic({ topic: 'deliveries-once' }),
        ),
      { provision: true },
    ),
  )
