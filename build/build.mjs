// Builds dist/: ES modules by tsc, a CommonJS bundle by esbuild, types once, and ES modules for Node that hand out what the bundle has.
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire, isBuiltin } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, promisify } from 'node:util'
import { build } from 'esbuild'
import { buildPage } from './page.mjs'
import { entries, exportsField, nameOf, typesVersionsField } from './entries.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const DIST = join(ROOT, 'dist')
const require = createRequire(import.meta.url)

/** All in one file: what several entries use is there once, and nothing of it runs before its entry is asked for. */
const bundled = { ...Object.fromEntries(Object.entries(entries).map(([subpath, module]) => [nameOf(subpath), module])), cli: 'cli/main' }

if (process.argv.includes('--names')) {
  // For the compiler alone, which finds examples and benches importing the package by its name: tsc makes the rest.
  for (const [subpath, module] of Object.entries(entries)) await typesForNode(nameOf(subpath), module)
  process.exit()
}
if (process.argv.includes('--progress')) showProgress()
await checkManifest()
await rm(DIST, { recursive: true, force: true })
await Promise.all([esModules(), commonJs(), kafkaJs(), buildPage(ROOT, join(DIST, 'page'))])
await useOwnKafkaJs()
await usePage()
for (const [subpath, module] of Object.entries(entries)) await forNode(nameOf(subpath), module)

/** For those who wait: a dot a second. */
function showProgress() {
  process.stderr.write('building millrace ')
  const dots = setInterval(() => process.stderr.write('.'), 1_000).unref()
  process.once('exit', () => {
    clearInterval(dots)
    process.stderr.write('\n')
  })
}

async function checkManifest() {
  const path = join(ROOT, 'package.json')
  const manifest = JSON.parse(await readFile(path, 'utf8'))
  const wanted = { ...manifest, exports: exportsField, typesVersions: typesVersionsField }
  if (isDeepStrictEqual(manifest, wanted)) return
  if (!process.argv.includes('--exports')) {
    console.error('package.json does not export what build/entries.mjs lists: node build/build.mjs --exports writes it')
    process.exit(1)
  }
  await writeFile(path, `${JSON.stringify(wanted, null, 2)}\n`)
}

/** dist/**.js, and the types in dist/cjs. */
async function esModules() {
  const tsc = require.resolve('typescript/bin/tsc')
  await promisify(execFile)(process.execPath, [tsc, '-p', join(ROOT, 'tsconfig.build.json')]).catch(({ stdout }) => {
    console.error(stdout)
    process.exit(1)
  })
}

async function commonJs() {
  const getters = Object.entries(bundled).map(([name, module]) => `get ${JSON.stringify(name)}() { return require('./src/${module}.ts') },`)
  await build({
    stdin: { contents: `module.exports = { ${getters.join('\n')} }`, resolveDir: ROOT },
    outfile: join(DIST, 'cjs/millrace.js'),
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    banner: { js: "'use strict'; const importMetaUrl = require('node:url').pathToFileURL(__filename).href" },
    define: { 'import.meta.url': 'importMetaUrl' },
    plugins: [
      { name: 'page', setup: ({ onResolve }) => onResolve({ filter: /^#page$/ }, () => ({ path: '../page/assets.cjs', external: true })) },
    ],
    logLevel: 'warning',
  })
  await writeFile(join(DIST, 'cjs/package.json'), '{ "type": "commonjs" }\n')
  for (const [name, module] of Object.entries(bundled)) {
    const path = join(DIST, 'cjs', `${module}.js`)
    const bundle = relative(dirname(path), join(DIST, 'cjs/millrace.js')).replaceAll('\\', '/')
    await mkdir(dirname(path), { recursive: true })
    const start = name === 'cli' ? '#!/usr/bin/env node\n' : ''
    await writeFile(
      path,
      `${start}module.exports = require('${bundle.startsWith('.') ? bundle : `./${bundle}`}')${name === 'index' ? '.index' : `['${name}']`}\n`,
    )
  }
}

/**
 * The parts of kafkajs that are used, as an ES module: it is CommonJS, and a bundle of ES modules has no `require` for what it takes from
 * Node.
 */
async function kafkaJs() {
  const parts = ['connection', 'compression']
  const { outputFiles } = await build({
    stdin: {
      contents: `export { default as connection } from 'kafkajs/src/network/connection.js'
        export { default as compression } from 'kafkajs/src/protocol/message/compression/index.js'`,
      resolveDir: ROOT,
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    write: false,
    minifyWhitespace: true,
    logLevel: 'warning',
  })
  const builtIns = new Map()
  const code = outputFiles[0].text.replaceAll(/__require\("([^"]+)"\)/g, (_, name) => {
    if (!isBuiltin(name)) throw new Error(`kafkajs takes in ${name}`)
    builtIns.set(name, `node_${builtIns.size}`)
    return builtIns.get(name)
  })
  const imports = [...builtIns].map(([name, as]) => `import ${as} from 'node:${name.replace(/^node:/, '')}'`)
  const license = await readFile(require.resolve('kafkajs/LICENSE'), 'utf8')
  const { version } = require('kafkajs/package.json')
  await mkdir(join(DIST, 'vendor'), { recursive: true })
  await writeFile(
    join(DIST, 'vendor/kafkajs.js'),
    `/*! Parts (${parts.join(', ')}) of kafkajs ${version}\n\n${license}*/\n${imports.join('\n')}\n${code}`,
  )
}

async function useOwnKafkaJs() {
  const path = join(DIST, 'kafka/kafkajs.js')
  const code = await readFile(path, 'utf8')
  const own = code.replaceAll(/^import (\w+) from 'kafkajs\/[^']*';?$/gm, "import { $1 } from '../vendor/kafkajs.js';")
  if ((own.match(/vendor\/kafkajs\.js/g) ?? []).length !== 2) throw new Error('kafka/kafkajs.ts no longer imports the two parts of kafkajs')
  await writeFile(path, own)
}

/** Its address in the package is that of the sources; in dist it lies beside. */
async function usePage() {
  const path = join(DIST, 'serve/page/assets.js')
  const code = await readFile(path, 'utf8')
  if (!code.includes("import('#page')")) throw new Error('serve/page/assets.ts no longer imports the page')
  await writeFile(path, code.replace("import('#page')", "import('../../page/assets.cjs')"))
}

/** What Node imports: the same objects that `require` gives. */
async function forNode(name, module) {
  const names = Object.keys(require(join(DIST, 'cjs', `${module}.js`)))
  await mkdir(join(DIST, 'node'), { recursive: true })
  await writeFile(
    join(DIST, 'node', `${name}.mjs`),
    `import exported from '../cjs/${module}.js'\nexport const {\n${names.map((one) => `  ${one},\n`).join('')}} = exported\n`,
  )
  await typesForNode(name, module)
}

async function typesForNode(name, module) {
  await mkdir(join(DIST, 'node'), { recursive: true })
  await writeFile(join(DIST, 'node', `${name}.d.mts`), `export * from '../cjs/${module}.js'\n`)
}
