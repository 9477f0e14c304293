import { MillraceError } from '../../record/error.js'

/**
 * What a row keeps of records that go round through retry topics, while it is not known that the log has them committed.
 *
 * A record may be written and, when it comes again, fail before the sink: then it goes to a retry topic and comes out of that as if it had
 * never been written. It is `owed`: skipped when it comes. Ids are those of `record.id`.
 */
export interface Detours {
  /** By id, the position that the log has to have committed for it to have gone to a retry topic. */
  readonly owed: ReadonlyMap<string, number>
  /** The ids of those written records that came out of a retry topic, by their offset in it. */
  readonly ids: ReadonlyMap<number, string>
}

export const NO_DETOURS: Detours = { owed: new Map<string, number>(), ids: new Map<number, string>() }

/** "orders/0/17@40 3=orders/0/9": the first is owed if 40 is committed, the second was written from offset 3. @throws CORRUPT_STATE */
export function parseDetours(text: string): Detours {
  if (text === '') return NO_DETOURS
  const owed = new Map<string, number>()
  const ids = new Map<number, string>()
  for (const one of text.split(' ')) {
    const [, offset, id, owedId, since] = /^(?:(\d+)=(\S+)|([^@\s]+)@(\d+))$/.exec(one) ?? []
    if (offset !== undefined && id !== undefined) ids.set(Number(offset), id)
    else if (owedId !== undefined && since !== undefined) owed.set(owedId, Number(since))
    else throw new MillraceError('CORRUPT_STATE', `'${one}' is nothing that positions hold: somebody else wrote to them`)
  }
  return { owed, ids }
}

export function detoursText({ owed, ids }: Detours): string {
  return [...[...owed].map(([id, since]) => `${id}@${since}`), ...[...ids].map(([offset, id]) => `${offset}=${id}`)].join(' ')
}
