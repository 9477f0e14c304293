import type { LogError, TopicPartition } from '../log/port.js'
import { ERROR, Refused, Unanswered, asReaction, withReaction } from './errors.js'
import { Produce, type ProducedResult } from './protocol/produce.js'

/** What became of a batch, by what the broker answered of its partition; undefined where it is in the log. */
export function resultError(result: ProducedResult | undefined, { topic, partition }: TopicPartition): Error | undefined {
  const what = `sending to ${topic}/${partition}`
  if (result === undefined) return new Unanswered(`${what}: the answer leaves the partition out`, true)
  // The broker has it from a try whose answer was lost.
  if (result.error === ERROR.none || result.error === ERROR.duplicateSequenceNumber) return undefined
  return new Refused(Produce, result.error, what, result.message)
}

/** A batch that cannot be sent takes its transaction with it. */
export function poison(failure: unknown, what: string): LogError {
  const error = asReaction(failure, what)
  if (error.reaction === 'reinit' || error.code === 'CLOSED') return error
  const idRefused = failure instanceof Refused && failure.info.name === 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED'
  return idRefused ? error : withReaction(error, 'abort')
}
