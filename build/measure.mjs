// What the package weighs and how much CPU time loading it takes, each in a process of its own, the median of several.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const cwd = fileURLToPath(new URL('..', import.meta.url))
const node = (...args) => execFileSync(process.execPath, args, { cwd, encoding: 'utf8' })
const load = (type, code) =>
  Number(
    node(
      `--input-type=${type}`,
      '-e',
      `const before = process.cpuUsage(); ${code}; const { user, system } = process.cpuUsage(before); console.log((user + system) / 1000)`,
    ),
  )

const [{ size, unpackedSize, entryCount }] = JSON.parse(
  execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd, encoding: 'utf8' }),
)
console.log(`packed ${Math.round(size / 1024)} kB, unpacked ${Math.round(unpackedSize / 1024)} kB, ${entryCount} files`)
for (const [name, type, code] of [
  ["import 'millrace'", 'module', "await import('millrace')"],
  ["require('millrace')", 'commonjs', "require('millrace')"],
  ['of that, rxjs and zod', 'commonjs', "require('rxjs'); require('zod'); require('cockatiel')"],
]) {
  const times = Array.from({ length: 7 }, () => load(type, code)).sort((a, b) => a - b)
  console.log(`${name}: ${Math.round(times[3])} ms of CPU`)
}
