/** The library under test, as its users load it: the built one, or a copy of it with something broken, which MILLRACE names. */
export const library = (await import(process.env['MILLRACE'] ?? '../../../src/index.js')) as typeof import('../../../src/index.js')
