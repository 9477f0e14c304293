import type { Encoded } from '../log/batch/write.js'
import type { KeyText } from './key.js'

/**
 * The state of one operator in one task: lives in memory, and on a compacted changelog topic for whoever has the task next.
 *
 * What changes is kept with what it was before, until the runtime says how the transaction ended. While one that was sealed goes to the
 * log, the next may change things; its changes are asked for when the end of that one is known.
 */
export interface TaskStore {
  /** True if a commit would write something. */
  readonly dirty: boolean
  /**
   * Asks for what `changes` will write, where a serde answers later; undefined where nothing is to be waited for. Called when user code is
   * done, and once more after it rejected.
   */
  prepare?(): Promise<unknown> | undefined
  /** The changes since the last commit, each key once; a null value deletes. Called once, when user code is done and all is prepared. */
  changes(write: ChangeWriter): void
  /**
   * The transaction, its changes written, goes to the log: what changes from here on belongs to the next. A store without it holds one
   * transaction at a time, and `commit` ends that.
   */
  seal?(): void
  /** The sealed transaction is in the log; the open one, where none was sealed. */
  commit(): void
  /** It is not: everything is again as it was at the last commit, what the next one has changed included. */
  rollback(): void
  /** True where `load` and `changes` wait for a serde that answers later. */
  readonly later?: boolean
  /** One record of the changelog, at restore. @throws anything, if the bytes are not of this store's form */
  load(key: Buffer, value: Buffer | null, version: number): Loading
  /** The changelog has been read to its end. */
  loaded(): void
  /** How many keys it has, and how many bytes they and their values take as they are stored, as of the last commit. */
  readonly extent: StoreExtent
}

/**
 * What is still to be done where a serde answers later: the caller does it in the order of the records. A store does so for each record
 * or for none.
 */
export type Loading = void | (() => void) | PromiseLike<() => void>

export function loadsLater(store: TaskStore): boolean {
  return store.later === true
}

export interface StoreExtent {
  readonly keys: number
  readonly bytes: number
}

/** What a store holds. */
export interface StoreUsage extends StoreExtent {
  readonly name: string
}

/** What a store says of a value that is still being read. */
export const LATER = Symbol('later')

/** A store that others may look into, and see what is committed. */
export interface QueryableStore extends TaskStore {
  /** A value as of the last commit, or LATER; what is handed out is a copy where the transaction under way could change it. */
  queried(key: KeyText, time: number): unknown
  /** All of them. */
  queriedEntries(): Iterable<readonly [key: KeyText, value: unknown, time: number]>
  /** Keys come with a time. */
  readonly timed: boolean
}

export function isQueryable(store: TaskStore): store is QueryableStore {
  return 'queried' in store
}

export type ChangeWriter = (key: Uint8Array, value: Encoded) => void

/** What a store is, apart from its content. */
export interface StoreSpec<S extends TaskStore = TaskStore> {
  /** Unique in the pipeline; names the changelog topic. */
  readonly name: string
  /** What it holds and how it is cut: a store never reads a changelog of another kind. */
  readonly kind: string
  /** Of the values' form. A higher one in the changelog is refused, a lower one goes through the migration. */
  readonly version: number
  /** Set where the store is a view of a topic that others write: it is read instead of a changelog, and followed. */
  readonly source?: string
  /** Several operators of a pipeline may use it. */
  readonly shared?: boolean
  /** What it holds says nothing to anybody but its operator. */
  readonly inner?: boolean
  /** How late a record may be and still count, where the store is one of windows. Milliseconds. */
  readonly graceMs?: number
  create(): S
}

/** The topic that a store's changes are written to. */
export function changelogTopic(group: string, name: string): string {
  return `${group}-${name}-changelog`
}
