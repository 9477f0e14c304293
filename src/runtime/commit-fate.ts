/**
 * How a commit ended. The next round looks at this alone: were it to hold the commit with its round, each would keep all those before it.
 */
export interface CommitFate {
  readonly state: 'open' | 'committed' | 'failed'
}
