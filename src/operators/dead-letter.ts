import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { FailedRecord, type FailuresOf } from '../record/failed-record.js'
import type { Good } from '../record/types.js'
import { activeSlice } from '../runtime/context.js'
import { DEFAULT_STACK_BYTES, writeDeadLetter, type DeadLetterHeaders } from '../runtime/dead-letter.js'
import { FailureNotice } from '../runtime/notice.js'
import { operate } from '../runtime/operate.js'
import { functionOption, parseOptions, topicName } from '../runtime/options.js'
import type { TopicOutput } from '../runtime/outputs.js'

export interface DeadLetterOptions<F extends FailedRecord = FailedRecord> {
  /** Where failed records are stored. It should take records as large as the inputs do, and some 300 bytes more (`max.message.bytes`). */
  readonly topic: string
  /**
   * Names and encodings of the headers that tell of the failure: 'millrace' (default), 'spring' as Spring Kafka's
   * DeadLetterPublishingRecoverer writes them, 'streams' as Kafka Streams does (KIP-1034), or a function that makes headers of your own.
   * The step and the error's code have no name outside of millrace and are written under its own.
   */
  readonly headers?: DeadLetterHeaders<F>
  /** Most bytes of the error's stack, causes included, in UTF-8. Default 4,096: the frames of user code are at its top. 0 leaves it out. */
  readonly maxStackBytes?: number
}

const schema = z.strictObject({
  topic: topicName,
  headers: z
    .union(
      [z.enum(['millrace', 'spring', 'streams']), functionOption<Exclude<DeadLetterHeaders, string>>('a function of the failed record')],
      {
        message: "expected 'millrace', 'spring', 'streams', or a function of the failed record",
      },
    )
    .default('millrace'),
  maxStackBytes: z.number().int().min(0).default(DEFAULT_STACK_BYTES),
})

/**
 * Takes FailedRecords out of the stream and stores them in a topic, in the transaction of their slice; the rest passes on.
 *
 * A dead letter has the key, value and headers of the record as it was read, byte for byte, its timestamp, and headers that tell where
 * it came from, which step failed, why, and after how many attempts: see `readFailure`. These are one bounded set: a record that comes here
 * again has them overwritten. To fit the topic's `max.message.bytes` the stack is cut, then the message, never the record.
 *
 * Order: kept; in the topic, that of arrival. The partition is the record's own, modulo the topic's. Offsets: commit together with the dead
 * letters. State, memory: none beyond the outputs of the transaction. The records are counted as `failed` in the Commit.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction; MISSING_TOPIC before anything is read; as
 * error of the slice, so that no offset passes the record: RECORD_TOO_LARGE if it does not fit with the shortest headers
 * @example
 * records.pipe(decode(Order), attempt(charge), deadLetter({ topic: 'orders.dead' }), toTopic({ topic: 'paid', value: json() }))
 * @see KIP-1034 (dead-letter queues of Kafka Streams)
 */
export function deadLetter<R>(options: DeadLetterOptions<FailuresOf<R>>): OperatorFunction<R, Good<R>> {
  const { topic, headers, maxStackBytes } = parseOptions(schema, options, 'deadLetter')
  return operate(`deadLetter ${topic}`, (target) => {
    const slice = activeSlice(`deadLetter '${topic}'`)
    const output = slice.outputs('deadLetter', [topic]).get(topic) as TopicOutput
    const notice = new FailureNotice(slice, `deadLetter '${topic}'`, `records were dead-lettered to '${topic}'`)
    return {
      next(item) {
        if (!(item instanceof FailedRecord)) return target.next(item as Good<R>)
        // Planning and what comes after the slice was given up write nothing.
        if (slice.mode !== 'run' || slice.closed) return
        slice.traces?.failed(item)
        writeDeadLetter(output, item, headers, maxStackBytes)
        notice.add(item)
      },
      complete() {
        notice.end()
        target.complete()
      },
    }
  })
}
