import { encodeHeaders, type HeaderValue } from '../record/headers.js'
import type { StoreSpec } from './store.js'

/** On every record of a changelog: which kind of state it is, in which version. */
export const STATE_HEADER = 'state'

type Shape = Pick<StoreSpec, 'kind' | 'version'>

/** The whole header section, ready to be copied into batches. */
export function stateHeader({ kind, version }: Shape): Buffer {
  return encodeHeaders({ [STATE_HEADER]: `${kind};${version}` })
}

export function readStateHeader(value: HeaderValue | undefined): Shape | undefined {
  if (!Buffer.isBuffer(value)) return undefined
  const match = /^(.*);(\d+)$/.exec(value.toString('utf8'))
  return match === null ? undefined : { kind: match[1] as string, version: Number(match[2]) }
}
