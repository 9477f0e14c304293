/**
 * Kafka's default hash, so that a key lands where every Java client puts it. (org.apache.kafka.common.utils.Utils.murmur2)
 */
export function murmur2(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start
  let h = 0x9747b28c ^ length
  let at = start
  const wholeWords = start + (length & ~3)
  while (at < wholeWords) {
    let k = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)
    k = Math.imul(k, 0x5bd1e995)
    k ^= k >>> 24
    k = Math.imul(k, 0x5bd1e995)
    h = Math.imul(h, 0x5bd1e995) ^ k
    at += 4
  }
  const rest = length & 3
  if (rest === 3) h ^= (bytes[at + 2] as number) << 16
  if (rest >= 2) h ^= (bytes[at + 1] as number) << 8
  if (rest >= 1) h = Math.imul(h ^ (bytes[at] as number), 0x5bd1e995)
  h ^= h >>> 13
  h = Math.imul(h, 0x5bd1e995)
  return h ^ (h >>> 15)
}

/** The partition of a key among `count`. */
export function partitionOfKey(bytes: Uint8Array, start: number, end: number, count: number): number {
  return (murmur2(bytes, start, end) & 0x7fffffff) % count
}
