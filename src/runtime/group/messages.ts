/** What a member tells the leader when it joins, beside its topics. */
export interface OwnSubscription {
  /** Tasks it had in `generation`; the latter is -1 for one that comes anew. */
  readonly owned: readonly number[]
  readonly generation: number
  /** Partition count as the member sees it: a change makes the group divide anew. */
  readonly tasks: number
  /** Tasks whose state the member keeps a warm copy of. */
  readonly warm: readonly number[]
  /** Warm copies that each task should have. */
  readonly standbys: number
  /** Where others can ask this member for its state; its member id where it does not say. */
  readonly address: string | undefined
  /** Topics that not all members need to read: a deployment that adds or removes them is under way. */
  readonly changing: readonly string[]
  /** Topics the pipeline both writes and reads; undefined of versions that do not say. */
  readonly inner: readonly string[] | undefined
  /** Whether it has state that others could be asked for: only then is it told who has what. */
  readonly stateful: boolean
  /** Which of the group's seats it has, -1 for none yet; undefined of one that needs none, or whose version does not say. */
  readonly seat: number | undefined
  /** How many seats it was last told there are. */
  readonly seats: number
}

export interface Subscription extends OwnSubscription {
  readonly topics: readonly string[]
}

/** What the leader tells a member beside its tasks. */
export interface OwnDivision {
  /** Tasks to keep a warm copy of. */
  readonly standby: readonly number[]
  /** The owner of each task, by its address; empty where nobody asks. */
  readonly owners: readonly string[]
  /** Why it may not be a member. */
  readonly refused: string | undefined
  /** How many tasks were divided; undefined of versions that do not say. */
  readonly count: number | undefined
  /** The seat that the member has; undefined of one that needs none, and of versions that do not say. */
  readonly seat: number | undefined
  /** How many seats there are. */
  readonly seats: number
  /** Seats of members that are gone: this one is to end what they left open. */
  readonly vacant: readonly number[]
}

export interface Division extends OwnDivision {
  readonly tasks: readonly number[]
  /** The topics that the leader took the member to read. */
  readonly topics: readonly string[]
}
