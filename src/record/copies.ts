// Each copy of this module in a process, by where it lies: shared by all of them, whatever loaded them.
const KEY = Symbol.for('millrace.copies')
const copies = ((globalThis as { [KEY]?: Set<string> })[KEY] ??= new Set<string>())
copies.add((import.meta.url as string | undefined) ?? 'a bundle')

/**
 * For an error that something of this library is not known to it: what there is to say where the library is loaded more than once. What one
 * copy makes is none of the other: in Node `import` and `require` get one, but a bundle has its own, and so has another version.
 */
export function copiesHint(): string {
  if (copies.size < 2) return ''
  return `. Note that millrace is loaded ${copies.size} times in this process (${[...copies].join(', ')}): what one copy makes, the other does not know. Have one: keep it out of the bundle, or put all that uses it in; and 'npm dedupe' where there are two versions`
}
