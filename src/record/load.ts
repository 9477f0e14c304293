import nodeModule from 'node:module'
import { join } from 'node:path'

// In a bundle for CommonJS there is no import.meta; such a program is started in its own folder. No name here is one that programs give what
// they put in front of a bundle of ES modules, `createRequire` and `require`.
const requireFrom = nodeModule.createRequire((import.meta.url as string | undefined) ?? join(process.cwd(), 'bundle.cjs'))

/**
 * What stands in a package of this name, loaded when it is asked for: of optional packages, and of those with machine code. A bundler does
 * not look through it, so they stay outside a bundle, as they have to.
 *
 * @throws where it is not installed
 */
export function load(name: string): unknown {
  return requireFrom(name)
}
