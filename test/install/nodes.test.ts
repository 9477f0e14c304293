import { describe, expect, inject, it } from 'vitest'
import { output, writeFiles } from './project.js'

const project = inject('project')

// As many lines as the versions that are supported: `engines` of package.json, the README and this list.
const VERSIONS = ['20.11.0', '22', '24']

const PROGRAM = (load: string) => `
  ${load}
  suite({ millrace, testing, rxjs }).then((text) => { console.log(process.version, text); process.exit(0) }, (error) => { console.error(error); process.exit(1) })
`
const FILES = {
  'node.cjs': PROGRAM(
    `const [millrace, testing, rxjs, suite] = ['millrace', 'millrace/testing', 'rxjs', './suite.cjs'].map((name) => require(name))`,
  ),
  'node.mjs': PROGRAM(
    `import * as millrace from 'millrace'\nimport * as testing from 'millrace/testing'\nimport * as rxjs from 'rxjs'\nimport suite from './suite.cjs'`,
  ),
}

describe('Node', () => {
  for (const version of VERSIONS) {
    it(version, async () => {
      await writeFiles(project, FILES)
      const printed = await output(
        'npx',
        ['--yes', '--prefer-offline', '-p', `node@${version}`, '-c', 'node node.cjs && node node.mjs'],
        project,
      )
      expect(printed).toMatch(new RegExp(`^v${version.replaceAll('.', '\\.')}\\S* passed\nv\\S+ passed$`))
    })
  }
})
