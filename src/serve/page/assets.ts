import type { IncomingMessage, ServerResponse } from 'node:http'
import { gunzipSync } from 'node:zlib'

/** Nothing but what is served here, and nothing written into the page itself. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const HEADERS = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  // Asked for again each time, and answered with 304 where nothing has changed.
  'cache-control': 'no-cache',
  vary: 'accept-encoding',
}

/** Serves a file of the page. */
export async function sendAsset(req: IncomingMessage, res: ServerResponse, name: string): Promise<void> {
  const { default: assets } = await import('#page')
  const asset = assets[name]
  if (asset === undefined) throw new Error(`the page has no ${name}`)
  const { type, etag } = asset
  if (req.headers['if-none-match'] === etag) {
    res.writeHead(304, { ...HEADERS, etag }).end()
    return
  }
  const gzip = Buffer.from(asset.gzip, 'base64')
  const packed = acceptsGzip(req)
  const body = packed ? gzip : gunzipSync(gzip)
  res
    .writeHead(200, {
      ...HEADERS,
      etag,
      'content-type': type,
      'content-length': body.length,
      ...(packed && { 'content-encoding': 'gzip' }),
    })
    .end(req.method === 'HEAD' ? undefined : body)
}

export function acceptsGzip(req: IncomingMessage): boolean {
  return /\bgzip\b/.test(String(req.headers['accept-encoding'] ?? ''))
}
