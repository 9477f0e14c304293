import { MillraceError, errorMessage } from '../record/error.js'
import { kindOf } from '../record/kind-of.js'
import type { AnySerde, Serde, Written } from '../record/serde.js'
import type { Entry } from './entry.js'
import type { KeyText } from './key.js'

export function migrated<V>(value: unknown, from: number, to: number, migrate: ((value: unknown, version: number) => V) | undefined): V {
  if (from > to)
    throw new MillraceError(
      'STATE_MISMATCH',
      `the changelog holds state of version ${from}, this program knows versions up to ${to}: run the newer program, or start with another name`,
    )
  if (migrate === undefined) {
    throw new MillraceError(
      'STATE_MISMATCH',
      `the changelog holds state of version ${from}, this program's is ${to}: give a migrate function that makes one of the other, or start with another name`,
    )
  }
  return migrate(value, from)
}

export function encodeValue<V>(serde: Serde<V>, entry: Entry<V>): Uint8Array | string {
  let encoded: Written | undefined
  try {
    encoded = serde.encode(entry.value as V)
  } catch (error) {
    throw notKept(serde.name, entry, error)
  }
  return asKept(serde.name, entry, encoded)
}

export async function encodeLater<V>(serde: AnySerde<V>, entry: Entry<V>): Promise<Uint8Array | string> {
  let encoded: Written | undefined
  try {
    encoded = await serde.encode(entry.value as V)
  } catch (error) {
    throw notKept(serde.name, entry, error)
  }
  return asKept(serde.name, entry, encoded)
}

function notKept(name: string, { key }: Entry<unknown>, error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  return new MillraceError('ENCODE_FAILED', `${stateOf(key)} cannot be kept as ${name}: ${errorMessage(error)}`, { cause: error })
}

function asKept(name: string, { key }: Entry<unknown>, encoded: Written | undefined): Uint8Array | string {
  if (typeof encoded === 'string' || encoded instanceof Uint8Array) return encoded
  throw new MillraceError(
    'ENCODE_FAILED',
    encoded === null || encoded === undefined
      ? `${stateOf(key)} was encoded by ${name} as ${String(encoded)}, which means deleted: delete it instead`
      : `${stateOf(key)} was encoded by ${name} as ${kindOf(encoded)}, not bytes or text: a serde that answers later says so (async: true)`,
  )
}

function stateOf(key: KeyText): string {
  return `the state of key '${Buffer.from(key, 'latin1').toString('utf8')}'`
}
