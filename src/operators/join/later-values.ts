import type { LogRecord } from '../../record/record.js'
import { withNext } from '../../record/serde.js'
import type { SliceContext } from '../../runtime/context.js'
import { InOrder } from '../../runtime/in-order.js'
import type { KeyText } from '../../state/key.js'
import type { KeptValue } from './kept-value.js'
import type { EmitPair, Partner } from './stream-join.js'

export type Side = 'left' | 'right'

/** A record that comes into the join, when its value is encoded. */
export interface Coming {
  readonly side: Side
  readonly record: LogRecord<unknown, unknown>
  readonly key: KeyText
  readonly at: number
}

/** A kept value that is yet to be read. */
export class Unread {
  constructor(
    readonly side: Side,
    readonly bytes: Buffer,
  ) {}
}

export interface LaterParts {
  readonly encode: (coming: Coming) => KeptValue | Promise<KeptValue>
  /** Puts it into its store, which finds the pairs. */
  readonly place: (coming: Coming, encoded: KeptValue) => void
  readonly read: (side: Side, bytes: Buffer) => unknown
  readonly emit: EmitPair
  readonly complete: () => void
  readonly fail: (error: unknown) => void
  readonly slice: SliceContext
  readonly what: string
}

/**
 * A join whose values take their time: records of both sides wait in one order until they are encoded, and pairs in one order until they
 * are read.
 */
export class LaterValues {
  private readonly coming: InOrder<Coming, KeptValue>
  private readonly pairs: InOrder<readonly [KeyText, Partner | undefined, Partner | undefined], [unknown, unknown]>

  constructor({ encode, place, read, emit, complete, fail, slice, what }: LaterParts) {
    const valueOf = (partner: Partner | undefined): unknown => {
      const value = partner?.value
      return value instanceof Unread ? read(value.side, value.bytes) : value
    }
    this.pairs = new InOrder({
      begin: ([, one, other]) => withNext(valueOf(one), () => valueOf(other)),
      give: ([key, one, other], [mine, theirs]) => emit(key, one && { ...one, value: mine }, other && { ...other, value: theirs }),
      complete,
      fail,
      slice,
      what,
    })
    this.coming = new InOrder({ begin: encode, give: place, complete: () => this.pairs.end(), fail, slice, what })
  }

  take(coming: Coming): void {
    this.coming.add(coming)
  }

  pair(key: KeyText, one: Partner | undefined, other: Partner | undefined): void {
    this.pairs.add([key, one, other])
  }

  /** No more records come. */
  end(): void {
    this.coming.end()
  }

  close(): void {
    this.coming.close()
    this.pairs.close()
  }
}
