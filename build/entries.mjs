/** What the package exports, by the module of src/ it comes from. `node build/build.mjs --exports` writes it into package.json. */
export const entries = {
  '.': 'index',
  './testing': 'testing/index',
  './postgres': 'sinks/database/postgres',
  './pglite': 'sinks/database/pglite',
  './sqlite': 'sinks/database/sqlite',
  './schema-registry': 'schema-registry/index',
  './opentelemetry': 'opentelemetry/index',
}

/** `testing` of `./testing`. */
export const nameOf = (subpath) => (subpath === '.' ? 'index' : subpath.slice(2))

/**
 * `exports` of package.json. In Node both import and require come to the one copy in dist/cjs, so that a program that does both has one
 * millrace; bundlers, which know the condition "module", take the ES modules in dist for both.
 */
export const exportsField = {
  ...Object.fromEntries(
    Object.entries(entries).map(([subpath, module]) => [
      subpath,
      {
        import: {
          types: `./dist/node/${nameOf(subpath)}.d.mts`,
          module: `./dist/${module}.js`,
          default: `./dist/node/${nameOf(subpath)}.mjs`,
        },
        require: { types: `./dist/cjs/${module}.d.ts`, module: `./dist/${module}.js`, default: `./dist/cjs/${module}.js` },
      },
    ]),
  ),
  './package.json': './package.json',
}

/** For compilers that do not read `exports` (`moduleResolution: node10`). */
export const typesVersionsField = {
  '*': Object.fromEntries(
    Object.entries(entries)
      .filter(([subpath]) => subpath !== '.')
      .map(([subpath, module]) => [nameOf(subpath), [`./dist/cjs/${module}.d.ts`]]),
  ),
}
