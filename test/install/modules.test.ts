import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { describe, expect, inject, it } from 'vitest'
import { ROOT, output, run, writeFiles } from './project.js'

const project = inject('project')

const REQUIRING = `
  const suite = require('./suite.cjs')
  const done = (text) => { console.log(text); process.exit(0) }
  suite({ millrace: require('millrace'), testing: require('millrace/testing'), rxjs: require('rxjs') }).then(done, (error) => { console.error(error); process.exit(1) })
`
const IMPORTING = `
  import * as millrace from 'millrace'
  import * as testing from 'millrace/testing'
  import * as rxjs from 'rxjs'
  import suite from './suite.cjs'
  suite({ millrace, testing, rxjs }).then((text) => { console.log(text); process.exit(0) }, (error) => { console.error(error); process.exit(1) })
`

/** In one process: operators of one module system on slices, records and errors of the other. */
const BOTH = `
  import { createRequire } from 'node:module'
  import { map, tap, lastValueFrom, take } from 'rxjs'
  import { MillraceError, embedded, decode, json, toTopic, withTransaction, isFailed } from 'millrace'
  import { createTestKit } from 'millrace/testing'
  const cjs = createRequire(import.meta.url)('millrace')
  const kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} } })
  kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
    cjs.withTransaction((records) => records.pipe(
      cjs.attempt((record) => { if (String(record.value) === 'bad') throw new MillraceError('DECODE_FAILED', 'bad') }),
      tap((item) => { if (isFailed(item) !== cjs.isFailed(item)) throw new Error('two copies') }),
      cjs.deadLetter({ topic: 'dead' }),
      map((record) => record.with({ value: 1 })),
      toTopic({ topic: 'out', value: cjs.json() }),
    )),
  ))
  await kit.feed('in', [{ key: 'a', value: 'good' }, { key: 'b', value: 'bad' }])
  await kit.advance('1s')
  let refused
  try { cjs.toTopic({}) } catch (error) { refused = error instanceof MillraceError && error instanceof cjs.MillraceError }
  console.log(JSON.stringify([(await kit.read('out')).length, (await kit.read('dead')).length, refused, cjs.embedded === embedded]))
  await kit.stop()
`

describe('module systems', () => {
  it('require', async () => {
    await writeFiles(project, { 'requiring.cjs': REQUIRING })
    expect(await output(process.execPath, ['requiring.cjs'], project)).toBe('passed')
  })

  it('import', async () => {
    await writeFiles(project, { 'importing.mjs': IMPORTING })
    expect(await output(process.execPath, ['importing.mjs'], project)).toBe('passed')
  })

  it('both in one process are one millrace', async () => {
    await writeFiles(project, { 'both.mjs': BOTH })
    expect(JSON.parse(await output(process.execPath, ['both.mjs'], project))).toEqual([1, 1, true, true])
  })

  it('two copies, which a bundle and a package beside it are, tell so', async () => {
    await writeFiles(project, {
      'copies.mjs': `
        import { firstValueFrom } from 'rxjs'
        import * as one from 'millrace'
        import * as other from './node_modules/millrace/dist/index.js'
        const cluster = one.embedded()
        await cluster.createTopics([{ topic: 'in' }, { topic: 'out' }])
        const told = await firstValueFrom(cluster.source({ group: 'g', topics: ['in'] }).pipe(one.withTransaction((r) => r.pipe(other.toTopic({ topic: 'out' }))))).catch((error) => error)
        let source
        try { cluster.source({ group: 'g', topics: ['in'] }).pipe(other.withTransaction((r) => r)) } catch (error) { source = error }
        console.log(JSON.stringify([told.code, told.message, source.code, source.message, source instanceof one.MillraceError, source instanceof RangeError]))
        process.exit(0)
      `,
    })
    const twice = expect.stringMatching(/millrace is loaded 2 times in this process \(.*dist[\\/]cjs.*, .*dist[\\/].*\)/) as string
    expect(JSON.parse(await output(process.execPath, ['copies.mjs'], project))).toEqual([
      'OUTSIDE_SLICE',
      twice,
      'OUTSIDE_SOURCE',
      twice,
      true,
      false,
    ])
  })

  for (const [format, file] of [
    ['esm', 'bundle.mjs'],
    ['cjs', 'bundle.cjs'],
  ] as const) {
    it(`a bundle of esbuild (${format}) runs by itself`, async () => {
      await writeFiles(project, { 'to-bundle.mjs': IMPORTING })
      const folder = await mkdtemp(join(tmpdir(), 'millrace-bundle-'))
      const { metafile } = await build({
        entryPoints: [join(project, 'to-bundle.mjs')],
        absWorkingDir: project,
        outfile: join(folder, file),
        bundle: true,
        metafile: true,
        platform: 'node',
        format,
        logLevel: 'error',
        // suite.cjs is CommonJS and asks Node for what it has.
        ...(format === 'esm'
          ? { banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" } }
          : {}),
      })
      expect(Object.keys(metafile.inputs).filter((path) => /millrace\/dist\/(cjs|node)\//.test(path))).toEqual([])
      expect(await output(process.execPath, [file], folder)).toBe('passed')
    })
  }

  it('a bundle of ES modules has no dynamic require of what Node has', async () => {
    await writeFiles(project, {
      'plain.mjs': `
        import { kafka, embedded } from 'millrace'
        const cluster = kafka({ brokers: ['127.0.0.1:1'] })
        await Promise.race([cluster.topics(['a']).catch((error) => error), new Promise((resolve) => setTimeout(resolve, 300))]).then((error) => { if (error) throw error })
        await embedded().createTopics([{ topic: 'in' }])
        console.log('passed'); process.exit(0)
      `,
    })
    const folder = await mkdtemp(join(tmpdir(), 'millrace-bundle-'))
    await build({
      entryPoints: [join(project, 'plain.mjs')],
      outfile: join(folder, 'out.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'error',
    })
    expect(await output(process.execPath, ['out.mjs'], folder)).toBe('passed')
  })

  it('Jest, as it comes', async () => {
    await writeFiles(project, {
      'millrace.test.js': `
        const suite = require('./suite.cjs')
        test('millrace', async () => {
          await expect(suite({ millrace: require('millrace'), testing: require('millrace/testing'), rxjs: require('rxjs') })).resolves.toBe('passed')
        })
      `,
    })
    const jest = join(ROOT, 'node_modules/jest/bin/jest.js')
    const { stderr } = await run(process.execPath, [jest, '--rootDir', project, '--forceExit', '--testTimeout', '60000'], { cwd: project })
    expect(stderr).toMatch(/1 passed/)
  })
})

describe('what is in the package', () => {
  it('no map whose sources are not there, and nothing that only tests need', async () => {
    const { stdout } = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: ROOT })
    const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }]
    const paths = files.map(({ path }) => path)
    expect(paths.filter((path) => /\.map$|^(test|src|bench)\//.test(path))).toEqual([])
    for (const path of paths.filter((one) => /\.(js|mjs)$/.test(one))) {
      expect(await readFile(join(ROOT, path), 'utf8'), path).not.toMatch(/^\/\/# sourceMappingURL/m)
    }
  })
})
