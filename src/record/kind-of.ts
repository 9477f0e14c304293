/** What a value is, for the message that it is not what it should be. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  const { constructor } = value
  return typeof constructor === 'function' && constructor.name !== '' ? `a value of class ${constructor.name}` : 'an object'
}
