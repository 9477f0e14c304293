/**
 * A value that shares nothing with the one given, class by class: for data, which has its content in properties that can be seen. Functions
 * in it are the same functions.
 */
export function cloneOf<V>(value: V, seen?: Map<unknown, unknown>): V {
  return typeof value === 'object' && value !== null ? (cloneObject(value, seen ?? new Map<unknown, unknown>()) as V) : value
}

function cloneObject(value: object, seen: Map<unknown, unknown>): object {
  const before = seen.get(value)
  if (before !== undefined) return before as object
  const made = <T extends object>(clone: T): T => {
    seen.set(value, clone)
    return clone
  }
  if (Buffer.isBuffer(value)) return made(Buffer.from(value))
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof RegExp || value instanceof Date)
    return made(structuredClone(value))
  if (Array.isArray(value)) {
    const clone = made(new Array<unknown>(value.length))
    value.forEach((item, i) => (clone[i] = cloneOf<unknown>(item, seen)))
    return clone
  }
  if (value instanceof Map) {
    const clone = made(new Map<unknown, unknown>())
    for (const [key, item] of value) clone.set(cloneOf<unknown>(key, seen), cloneOf<unknown>(item, seen))
    return clone
  }
  if (value instanceof Set) {
    const clone = made(new Set<unknown>())
    for (const item of value) clone.add(cloneOf<unknown>(item, seen))
    return clone
  }
  const clone = made(Object.create(Object.getPrototypeOf(value) as object | null) as Record<string, unknown>)
  for (const [name, item] of Object.entries(value)) clone[name] = cloneOf<unknown>(item, seen)
  return clone
}
