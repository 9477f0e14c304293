import { concatMap } from 'rxjs'
import { z } from 'zod'
import { decode, dropFailed, json, route, withTransaction, type Cluster } from '../../../src/index.js'

const Basket = z.object({ items: z.array(z.object({ kind: z.string(), sku: z.string() })) })

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'baskets', topics: ['baskets'] }).pipe(
    withTransaction((baskets) =>
      baskets.pipe(
        decode(Basket),
        dropFailed(),
        concatMap((basket) => basket.value.items.map((item) => basket.with({ value: item }))),
        route({ to: (item) => item.value.kind, topics: ['book', 'food'], fallback: 'other', value: json() }),
      ),
    ),
  )
