/**
 * What keeps a pipeline from going faster. 'fetch': records do not come fast enough; 'code': what its steps compute, or wait for in a way of
 * their own; 'commit': offsets and the ends of transactions; 'broker': outputs are acknowledged slowly, or the cluster is not to be
 * reached; 'downstream': calls of `attempt`, sinks and stores outside the log; 'memory': garbage collection; 'skew': one partition has most
 * of what there is to do; 'rebalances': they, and the state that is restored after them; 'failures': transactions that were given up;
 * 'nothing': it keeps up, or does not run.
 */
export type Bound = 'fetch' | 'code' | 'commit' | 'broker' | 'downstream' | 'memory' | 'skew' | 'rebalances' | 'failures' | 'nothing'

export interface Finding {
  readonly bound: Bound
  /** The part of the time it stands for, 0 to 1. Of 'skew' the part of the lag. */
  readonly share: number
  /** One sentence. */
  readonly what: string
  /** The step to look at, where one is known. */
  readonly step: string | undefined
  /** The figures that say so. */
  readonly evidence: readonly string[]
  /** What to change, the most likely first. */
  readonly advice: readonly string[]
}
