import type { Api, Throttled } from './api.js'

export interface DescribedTransaction {
  readonly error: number
  /** PrepareCommit and PrepareAbort: it has ended, and its markers are yet to be written. */
  readonly state: string
}

export interface DescribeTransactionsResponse extends Throttled {
  readonly transactions: readonly DescribedTransaction[]
}

export const DescribeTransactions: Api<{ readonly transactionalId: string }, DescribeTransactionsResponse> = {
  key: 65,
  name: 'DescribeTransactions',
  version: 0,
  flexible: true,
  encode(writer, { transactionalId }) {
    writer.compactArray([transactionalId], (id) => writer.compactString(id))
    writer.noTags()
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const transactions = reader.compactArray(() => {
      const error = reader.int16()
      reader.compactString()
      const state = reader.compactString()
      reader.int32()
      reader.int64()
      reader.bigint64()
      reader.int16()
      reader.compactArray(() => {
        reader.compactString()
        reader.compactArray(() => reader.int32())
        reader.tags()
      })
      reader.tags()
      return { error, state }
    })
    reader.tags()
    return { throttleMs, transactions }
  },
}
