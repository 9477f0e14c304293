import { MillraceError } from '../record/error.js'
import { kindOf } from '../record/kind-of.js'
import { RAW_KEY, type LogRecord } from '../record/record.js'
import { cursor, readVarint } from '../record/varint.js'

/**
 * A key inside a store: its bytes, one character each. Text would not do, since keys are bytes and not all bytes are UTF-8;
 * and a string is what a Map compares by content.
 */
export type KeyText = string

export function keyOfBytes(bytes: Uint8Array): KeyText {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

export function keyOfText(text: string): KeyText {
  // ASCII is its own form.
  return Buffer.byteLength(text, 'utf8') === text.length ? text : Buffer.from(text, 'utf8').toString('latin1')
}

/** A key of a store: text is its UTF-8 bytes. */
export type StoreKey = string | Uint8Array

/** @throws MillraceError MISSING_KEY for what is none */
export function keyTextOf(key: StoreKey): KeyText {
  if (typeof key === 'string') return keyOfText(key)
  if (key instanceof Uint8Array) return keyOfBytes(key)
  throw new MillraceError('MISSING_KEY', `a key of a store is text or bytes, got ${kindOf(key)}: make text of it, e.g. String(key)`)
}

export function bytesOfKey(key: KeyText): Buffer {
  return Buffer.from(key, 'latin1')
}

/** The record's own key as it was read, without a buffer being made for it; undefined where it has none or another was put in its place. */
export function rawKeyOf(record: LogRecord<unknown, unknown>): KeyText | undefined {
  if ((record.raw & RAW_KEY) === 0) return undefined
  return keptKeyOf(record)
}

/** The key as it was read, whatever was put in its place since; undefined without one, or for a record that was never read. */
export function keptKeyOf(record: LogRecord<unknown, unknown>): KeyText | undefined {
  if (record.start < 0) return undefined
  const { bytes } = record.source
  const length = readVarint(bytes, record.start)
  return length < 0 ? undefined : bytes.toString('latin1', cursor.pos, cursor.pos + length)
}
