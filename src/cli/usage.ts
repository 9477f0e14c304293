import { parseArgs, type ParseArgsConfig } from 'node:util'

/** The command line does not say what is wanted. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>
type Parsed<O extends Options> = ReturnType<
  typeof parseArgs<{ readonly options: O; readonly strict: true; readonly allowPositionals: false }>
>['values']

/** @throws UsageError naming an option that is unknown or lacks its value */
export function optionsOf<const O extends Options>(args: readonly string[], options: O): Parsed<O> {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values
  } catch (error) {
    // Node goes on to explain how to pass it as a positional argument; there are none.
    throw new UsageError((error as Error).message.split('. ', 1)[0])
  }
}

export function numberOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw new UsageError(`--${name}: expected a number, got '${text}'`)
  return value
}

export function positiveOf(name: string, text: string | undefined, otherwise: number): number {
  const value = numberOf(name, text) ?? otherwise
  if (value <= 0) throw new UsageError(`--${name}: expected a number above 0`)
  return value
}

/** Repeated `name=value`. */
export function pairsOf(name: string, texts: readonly string[] | undefined): Record<string, string> | undefined {
  if (texts === undefined) return undefined
  const pairs = texts.map((text) => {
    const at = text.indexOf('=')
    if (at < 0) throw new UsageError(`--${name}: expected name=value, got '${text}'`)
    return [text.slice(0, at), text.slice(at + 1)] as const
  })
  const twice = pairs.find(([key], i) => pairs.some(([other], j) => j < i && other === key))
  if (twice !== undefined) throw new UsageError(`--${name}: '${twice[0]}' is given twice, and both would have to hold`)
  return Object.fromEntries(pairs)
}
