import { stateHeader } from '../state/state-header.js'
import type { Restoring } from '../state/restore.js'
import type { StoreSpec, StoreUsage, TaskStore } from '../state/store.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { TopicOutput } from './outputs.js'

/** A store of the plan and where its changes go. */
export interface PlannedStore {
  readonly spec: StoreSpec
  /** Undefined for a view. */
  readonly changelog: TopicOutput | undefined
}

interface Held extends PlannedStore {
  readonly store: TaskStore
  readonly header: Buffer
}

/** The stores of one task. */
export class TaskState {
  private readonly held: ReadonlyMap<string, Held>
  private flushed = false
  /** What is to be read before the first record, and how far it was. */
  readonly restoring: readonly Restoring[]

  constructor(
    private readonly partition: number,
    stores: readonly PlannedStore[],
  ) {
    this.held = new Map(
      stores.map(({ spec, changelog }) => [spec.name, { spec, changelog, store: spec.create(), header: stateHeader(spec) }]),
    )
    this.restoring = [...this.held.values()].map(({ spec, store, changelog }) => ({
      spec,
      store,
      topic: spec.source ?? (changelog as TopicOutput).topic,
      partition,
    }))
  }

  /** @throws MillraceError NOT_PLANNED */
  store<S extends TaskStore>(operator: string, { name, kind }: StoreSpec<S>): S {
    const held = this.held.get(name)
    if (held === undefined || held.spec.kind !== kind) {
      throw new MillraceError(
        'NOT_PLANNED',
        `${operator} uses the store '${name}', which planning did not see${held === undefined ? '' : ` as ${kind} but as ${held.spec.kind}`}: it is subscribed in a branch that an empty slice does not take. Move it out of mergeMap, defer or groupBy`,
      )
    }
    return held.store as S
  }

  /** The store of a name, for those who look in from outside. */
  find(name: string): TaskStore | undefined {
    return this.held.get(name)?.store
  }

  get isEmpty(): boolean {
    return this.held.size === 0
  }

  get dirty(): boolean {
    for (const { store } of this.held.values()) if (store.dirty) return true
    return false
  }

  /** Asks the serdes that answer later for what `flush` will write; undefined where there are none. @throws what `flush` does */
  prepare(): Promise<unknown> | undefined {
    if (this.flushed) return undefined
    let preparing: Promise<unknown>[] | undefined
    for (const { spec, store, changelog } of this.held.values()) {
      const asked = changelog === undefined ? undefined : store.prepare?.()
      if (asked !== undefined) (preparing ??= []).push(asked.catch((error: unknown) => this.notKept(spec.name, error)))
    }
    // All of them: nobody is told of one that fails after the others.
    return preparing && Promise.allSettled(preparing).then(() => Promise.all(preparing))
  }

  private notKept(name: string, error: unknown): never {
    if (error instanceof MillraceError) throw error
    throw new MillraceError('ENCODE_FAILED', `the state of '${name}' cannot be kept: ${errorMessage(error)}`, { cause: error })
  }

  /**
   * Hands all changes to the changelogs' outputs, each key once: at the end of the task's slice, so that a state that cannot be kept is a
   * failure of the records that made it. Nothing changes from there to the end of the transaction. Not while the transaction before goes to
   * the log: what is written of it may depend on how that ends.
   *
   * @throws MillraceError ENCODE_FAILED, RECORD_TOO_LARGE
   */
  flush(now: number): void {
    if (this.flushed) return
    for (const { spec, store, changelog, header } of this.held.values()) {
      if (changelog === undefined || !store.dirty) continue
      try {
        store.changes((key, value) => changelog.appendChange(this.partition, key, value, header, now))
      } catch (error) {
        this.notKept(spec.name, error)
      }
    }
    this.flushed = true
  }

  /** What its stores hold. */
  get usage(): StoreUsage[] {
    return [...this.held.values()].map(({ spec, store }) => ({ name: spec.name, ...store.extent }))
  }

  /** The transaction goes to the log: what changes from here on belongs to the next. */
  seal(): void {
    this.flushed = false
    for (const { store } of this.held.values()) store.seal?.()
  }

  /** The sealed transaction is in the log. */
  commit(): void {
    for (const { store } of this.held.values()) store.commit()
  }

  rollback(): void {
    this.flushed = false
    for (const { store } of this.held.values()) store.rollback()
  }
}

/** What the stores of several tasks hold, together by name. */
export function usageOf(states: readonly TaskState[]): StoreUsage[] {
  const total = new Map<string, { name: string; keys: number; bytes: number }>()
  for (const { name, keys, bytes } of states.flatMap(({ usage }) => usage)) {
    const sum = total.get(name)
    if (sum === undefined) total.set(name, { name, keys, bytes })
    else {
      sum.keys += keys
      sum.bytes += bytes
    }
  }
  return [...total.values()]
}
