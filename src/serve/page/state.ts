import type { ClusterStatus } from '../../cluster/cluster.js'

/** All that the page shows, in one answer. */
export interface PageState {
  /** The process that answers. */
  readonly here: ClusterStatus
  /** Others of its groups, by the addresses they were given as members. */
  readonly others: readonly OtherProcess[]
  readonly can: {
    /** Dead letters are listed. */
    readonly letters: boolean
    /** ... with what they hold. */
    readonly content: boolean
    readonly commands: boolean
  }
}

export interface OtherProcess {
  readonly address: string
  /** Undefined where it does not answer. */
  readonly status?: ClusterStatus
  readonly error?: string
}
