import { join } from 'node:path'
import { describe, expect, inject, it } from 'vitest'
import { ROOT, output, writeFiles } from './project.js'

const project = inject('project')

const PROGRAM = `
  import { map, type Observable } from 'rxjs'
  import { MillraceError, embedded, toTopic, withTransaction, type Commit } from 'millrace'
  import { createTestKit, type TestKit } from 'millrace/testing'
  export const commits: Observable<Commit> = embedded().source({ group: 'g', topics: ['in'] }).pipe(
    withTransaction((records) => records.pipe(map((r) => r.with({ value: 'x' })), toTopic({ topic: 'out' }))))
  export const kit: Promise<TestKit> = createTestKit()
  export const error: MillraceError = new MillraceError('INVALID_OPTIONS', 'x')
  // @ts-expect-error a wrong option does not compile
  embedded().source({ group: 'g', topic: 'in' })
`
// What one module of a program makes, another one takes, whichever way each loads the package.
const MIXED = `import millrace = require('millrace')\nimport { error } from './program.cjs'\nexport const same: millrace.MillraceError = error\n`

const SETTINGS: Readonly<Record<string, { readonly files: Readonly<Record<string, string>>; readonly options: object }>> = {
  'node16, both kinds of modules': {
    files: { 'program.mts': PROGRAM, 'program.cts': PROGRAM, 'mixed.cts': MIXED },
    options: { module: 'node16', moduleResolution: 'node16' },
  },
  bundler: { files: { 'program.ts': PROGRAM }, options: { module: 'esnext', moduleResolution: 'bundler' } },
  node10: { files: { 'program.ts': PROGRAM }, options: { module: 'commonjs', moduleResolution: 'node10', ignoreDeprecations: '5.0' } },
}

describe('TypeScript', () => {
  for (const [name, { files, options }] of Object.entries(SETTINGS)) {
    it(name, async () => {
      const folder = join(project, 'typescript', name.replaceAll(/\W+/g, '-'))
      const compilerOptions = { target: 'es2022', strict: true, noEmit: true, skipLibCheck: true, types: [], ...options }
      await writeFiles(folder, {
        'package.json': { private: true },
        ...files,
        'tsconfig.json': { compilerOptions, files: Object.keys(files) },
      })
      expect(await output(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', folder], folder)).toBe('')
    })
  }
})
