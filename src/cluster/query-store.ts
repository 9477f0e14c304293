import type { Observable } from 'rxjs'
import { partitionOfKey } from '../log/partitioner.js'
import { MillraceError } from '../record/error.js'
import type { DeepReadonly } from '../record/types.js'
import { CommitStream } from '../runtime/commit-stream.js'
import { bytesOfKey, keyTextOf, type StoreKey } from '../state/key.js'
import { LATER, isQueryable, type QueryableStore } from '../state/store.js'

/** What is known of a key. */
export type StoreAnswer<V> =
  /** Its task is here. The value is undefined where there is none. */
  | { readonly at: 'here'; readonly partition: number; readonly value: DeepReadonly<V> | undefined }
  /** Its task is another member's: `owner` is that one's `address`, or its member id if it gave none. */
  | { readonly at: 'elsewhere'; readonly partition: number; readonly owner: string }
  /**
   * Ask again later: the pipeline is not running or has no assignment right now, the task's state is being restored, or the serde of a
   * table answers with a promise, which is under way now.
   */
  | { readonly at: 'unavailable'; readonly partition: number | undefined }

export interface StoreEntry<V> {
  readonly key: Buffer
  /** Of windows their start, of timed stores the time of the key; 0 else. */
  readonly time: number
  readonly value: DeepReadonly<V>
  readonly partition: number
}

export interface QueryKeyOptions {
  /** Of windows their start, of timed stores the time of the key; needed there, and refused where keys have none. */
  readonly time?: number
  /** The partition that the key is in. Default: by Kafka's hash of the key, as toTopic and Java's producer do. */
  readonly partition?: number
}

/** Looks into one store of a running pipeline. */
export interface StoreQuery<V> {
  get(key: StoreKey, options?: QueryKeyOptions): StoreAnswer<V>
  /** What the tasks of this process have. All that is taken without letting the event loop go on is of one commit. */
  entries(): IterableIterator<StoreEntry<V>>
}

/**
 * Lets a program look into the state of its pipeline, from outside: an HTTP handler, a dashboard.
 *
 * What it sees is committed: never the changes of a transaction under way, which may yet be undone. A key that another process has is
 * answered with who has it (see the source's `address`), so that the question can be sent on. Values are as they are kept: of a window the
 * state of its aggregator, of `table` the latest value. Asking is local and synchronous; it waits for nothing.
 *
 * @param pipeline what withTransaction made, or what operators made of that; answers are there while it is subscribed
 * @throws MillraceError OUTSIDE_SOURCE if it does not come from withTransaction; INVALID_OPTIONS for a store that the pipeline does not
 * have
 * @example
 * const carts = queryStore<Cart>(commits, 'carts')
 * const answer = carts.get('customer-7')
 * if (answer.at === 'elsewhere') redirect(answer.owner)
 * @see KIP-67 (interactive queries)
 */
export function queryStore<V = unknown>(pipeline: Observable<unknown>, name: string): StoreQuery<V> {
  const commits = CommitStream.behind(pipeline, 'queryStore')
  const { stores } = commits.plan()
  const known = stores.find(({ spec }) => spec.name === name)
  if (known === undefined) {
    throw new MillraceError(
      'INVALID_OPTIONS',
      `queryStore: the pipeline has no store '${name}'${stores.length === 0 ? ', it has none at all' : `: it has ${stores.map(({ spec }) => `'${spec.name}'`).join(', ')}`}`,
    )
  }
  const sample = known.spec.create()
  if (known.spec.inner === true || !isQueryable(sample))
    throw new MillraceError(
      'INVALID_OPTIONS',
      `queryStore: '${name}' holds the inner state of ${known.operator}, in a form that says nothing to others`,
    )
  const { timed } = sample

  return {
    get(key, { time, partition: given } = {}) {
      if (timed !== (time !== undefined)) {
        throw new MillraceError(
          'INVALID_OPTIONS',
          timed ? `queryStore: keys of '${name}' come with a time: get(key, { time })` : `queryStore: keys of '${name}' have no time`,
        )
      }
      const keyText = keyTextOf(key)
      const bytes = bytesOfKey(keyText)
      let partition = given
      let elsewhere: StoreAnswer<V> | undefined
      for (const running of commits.pipelines) {
        if (running.taskCount === undefined) continue
        partition ??= partitionOfKey(bytes, 0, bytes.length, running.taskCount)
        const found = running.whereIs(partition)
        if (found === undefined) continue
        if ('owner' in found) elsewhere = { at: 'elsewhere', partition, owner: found.owner }
        else {
          const value = (found.state.find(name) as QueryableStore).queried(keyText, time ?? 0)
          return value === LATER ? { at: 'unavailable', partition } : { at: 'here', partition, value: value as DeepReadonly<V> | undefined }
        }
      }
      return elsewhere ?? { at: 'unavailable', partition }
    },

    *entries() {
      for (const running of commits.pipelines) {
        for (let partition = 0; partition < (running.taskCount ?? 0); partition++) {
          const found = running.whereIs(partition)
          if (found === undefined || 'owner' in found) continue
          for (const [key, value, time] of (found.state.find(name) as QueryableStore).queriedEntries()) {
            if (value === LATER)
              throw new MillraceError(
                'DECODE_FAILED',
                `queryStore: the serde of '${name}' answers with promises, for which entries() cannot wait: ask for its keys one by one`,
              )
            yield { key: bytesOfKey(key), time, value: value as DeepReadonly<V>, partition }
          }
        }
      }
    },
  }
}
