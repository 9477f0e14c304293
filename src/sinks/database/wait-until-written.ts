import { z } from 'zod'
import { sleep, systemClock } from '../../record/clock.js'
import type { Duration } from '../../record/duration.js'
import { MillraceError } from '../../record/error.js'
import { originText, type Origin } from '../../record/origin.js'
import { objectWith, parseOptions, storeName, timeLimit, topicName } from '../../runtime/options.js'
import type { Database } from './database.js'

export interface WaitUntilWrittenOptions {
  /** The group of the pipeline that writes. */
  readonly group: string
  /** The `name` of its sink. Default 'database'. */
  readonly name?: string
  /** Where the records lie: a producer is told the offsets of what it wrote. */
  readonly records: readonly Origin[]
  /** How long to wait. Default '10s'. */
  readonly within?: Duration
}

const schema = z.strictObject({
  group: z.string().min(1),
  name: storeName.default('database'),
  records: z.array(z.object({ topic: topicName, partition: z.number().int().min(0), offset: z.number().int().min(0) })),
  within: timeLimit.default(10_000),
})

const FIRST_PAUSE_MS = 10
const MAX_PAUSE_MS = 200

/**
 * Resolves when a pipeline's `toDatabase` has gone past these records: whoever wrote them to a topic can read in the database what became
 * of them. A record that the pipeline drops, or that failed and went elsewhere, counts as gone past.
 *
 * It asks the database, again at growing pauses; what it needs is the positions table alone, so it may be called in any process.
 *
 * @throws MillraceError INVALID_OPTIONS; TIMEOUT; what the database says
 * @example
 * const [{ baseOffset }] = await producer.send({ topic: 'orders', messages: [{ key, value, partition: 0 }] })
 * await waitUntilWritten(db, { group: 'orders-view', records: [{ topic: 'orders', partition: 0, offset: Number(baseOffset) }] })
 */
export async function waitUntilWritten(db: Database, options: WaitUntilWrittenOptions): Promise<void> {
  const { group, name, records, within } = parseOptions(schema, options, 'waitUntilWritten')
  parseOptions(z.tuple([objectWith<Database>(['read'], 'a database such as postgres(pool)')]), [db], 'waitUntilWritten')
  const until = systemClock.monotonic() + within
  let open = records
  for (let pause = FIRST_PAUSE_MS; open.length > 0; pause = Math.min(MAX_PAUSE_MS, pause * 2)) {
    const places = open.map(({ topic, partition }) => ({ sink: name, topic, partition }))
    const rows = await db.read(group, places)
    open = open.filter(({ offset }, i) => (rows[i]?.position ?? 0) <= offset)
    const [first] = open
    if (first === undefined) return
    if (systemClock.monotonic() >= until)
      throw new MillraceError(
        'TIMEOUT',
        `waited ${within} ms for '${name}' of group '${group}' to write ${originText(first)}: it is behind, stands still, or is called otherwise`,
        { origin: first, retryable: true },
      )
    await sleep(systemClock, pause)
  }
}
