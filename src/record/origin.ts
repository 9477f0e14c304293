/** Where a record was read: what makes it the same record after a crash, an abort or a replay. */
export interface Origin {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}
