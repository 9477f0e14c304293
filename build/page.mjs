// Builds the live page of serveStatus: all of it into one module of texts, so that it is found wherever the library is bundled to.
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/** Writes `assets.cjs`: by name what a browser asks for, gzipped, as base64. */
export async function buildPage(root, directory) {
  const { outputFiles } = await build({
    entryPoints: { page: join(root, 'page/main.tsx') },
    outdir: directory,
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: ['es2022', 'chrome110', 'firefox115', 'safari16'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'inline',
    logLevel: 'warning',
  })
  const built = (ending) => outputFiles.find(({ path }) => path.endsWith(ending)).contents
  const files = {
    'index.html': ['text/html; charset=utf-8', await readFile(join(root, 'page/index.html'))],
    'page.js': ['text/javascript; charset=utf-8', built('page.js')],
    'page.css': ['text/css; charset=utf-8', built('page.css')],
    'icon.svg': ['image/svg+xml', await readFile(join(root, 'page/icon.svg'))],
  }
  const assets = Object.fromEntries(
    Object.entries(files).map(([name, [type, content]]) => {
      const etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`
      return [name, { type, etag, gzip: gzipSync(content, { level: 9 }).toString('base64') }]
    }),
  )
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, 'assets.cjs'), `'use strict'\nmodule.exports = ${JSON.stringify(assets, null, 1)}\n`)
}
