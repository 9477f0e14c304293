/** What every request of a transaction starts with. */
export interface TransactionIdentity {
  readonly transactionalId: string
  readonly producerId: bigint
  readonly producerEpoch: number
}
