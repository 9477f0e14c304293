/** The topics of a run. */
export interface RunTopics {
  readonly inputs: readonly string[]
  readonly out: string
  readonly late: string
  readonly dead: string
}
