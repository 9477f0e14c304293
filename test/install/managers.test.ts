import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, inject, it } from 'vitest'
import { ROOT, output, writeFiles } from './project.js'

const tarball = inject('tarball')

const PROGRAM = `
  const suite = require('./suite.cjs')
  const { SnappyCodec } = { SnappyCodec: require('kafkajs-snappy') }
  const all = { millrace: require('millrace'), testing: require('millrace/testing'), rxjs: require('rxjs'), codecs: { snappy: SnappyCodec } }
  // kafkajs is not the user's to reach into here; the checksums are those of machine code, not of the stand-in.
  const { createRequire } = require('node:module')
  createRequire(require.resolve('millrace'))('@node-rs/crc32')
  suite(all).then((text) => { console.log(text); process.exit(0) }, (error) => { console.error(error); process.exit(1) })
`
const manifest = {
  name: 'user',
  private: true,
  dependencies: { millrace: `file:${tarball}`, rxjs: '^7.8.2', 'kafkajs-snappy': '^1.1.0' },
}

/** As npm is set up here: others do not read all of its settings. */
async function registry(): Promise<string> {
  return output('npm', ['config', 'get', 'registry'], tmpdir())
}

describe('package managers with their own ways to lay packages', () => {
  it('pnpm', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-pnpm-'))
    await writeFiles(folder, { 'package.json': manifest, 'program.cjs': PROGRAM })
    const pnpm = join(ROOT, 'node_modules/pnpm/bin/pnpm.cjs')
    await output(process.execPath, [pnpm, 'install', '--prefer-offline', '--no-frozen-lockfile'], folder, { CI: 'true' })
    expect(await output(process.execPath, ['program.cjs'], folder)).toBe('passed')
  })

  it("yarn, with Plug'n'Play", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-yarn-'))
    await writeFiles(folder, { 'package.json': manifest, 'yarn.lock': '', 'program.cjs': PROGRAM })
    const yarn = join(ROOT, 'node_modules/@yarnpkg/cli-dist/bin/yarn.js')
    const address = await registry()
    const env = {
      YARN_NPM_REGISTRY_SERVER: address.replace(/\/$/, ''),
      YARN_UNSAFE_HTTP_WHITELIST: new URL(address).hostname,
      YARN_ENABLE_IMMUTABLE_INSTALLS: 'false',
      YARN_ENABLE_TELEMETRY: 'false',
      YARN_ENABLE_HARDENED_MODE: 'false',
    }
    await output(process.execPath, [yarn, 'install'], folder, env)
    expect(await output(process.execPath, [yarn, 'node', 'program.cjs'], folder, env)).toBe('passed')
  })
})
