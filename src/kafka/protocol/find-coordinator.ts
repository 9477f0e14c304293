import type { Api, Throttled } from './api.js'
import type { BrokerAddress } from './metadata.js'

export type CoordinatorKind = 'group' | 'transaction'

export interface FindCoordinatorResponse extends Throttled, BrokerAddress {
  readonly error: number
}

export const FindCoordinator: Api<{ readonly kind: CoordinatorKind; readonly key: string }, FindCoordinatorResponse> = {
  key: 10,
  name: 'FindCoordinator',
  version: 2,
  flexible: false,
  encode(writer, { kind, key }) {
    writer.string(key)
    writer.int8(kind === 'group' ? 0 : 1)
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const error = reader.int16()
    reader.nullableString()
    return { throttleMs, error, node: reader.int32(), host: reader.string(), port: reader.int32() }
  },
}
