/** Made of page/ by the build. */
declare module '#page' {
  const assets: Readonly<Record<string, { readonly type: string; readonly etag: string; readonly gzip: string }>>
  export default assets
}
