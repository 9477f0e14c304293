import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { z } from 'zod'
import { MillraceError, errorMessage } from '../record/error.js'
import { parseOptions } from '../runtime/options.js'
import { handlerOf } from './handler.js'
import { handlerShape, sourceSchema, withToken, type StatusHandlerOptions, type StatusSource } from './options.js'

export interface ServeStatusOptions extends StatusHandlerOptions {
  /** Default 9090; 0 takes any that is free. */
  readonly port?: number
  /** Default '127.0.0.1', which only this machine reaches; '0.0.0.0' for probes and scrapes from elsewhere, best with a `token`. */
  readonly host?: string
}

export interface StatusServer {
  readonly host: string
  readonly port: number
  /** 'http://127.0.0.1:9090' and the prefix. */
  readonly url: string
  /** Ends the requests under way, and frees the port. */
  close(): Promise<void>
}

const schema = withToken(
  z.strictObject({
    ...handlerShape,
    port: z.number().int().min(0).max(65_535).default(9_090),
    host: z.string().min(1).default('127.0.0.1'),
  }),
)

/**
 * Serves what the pipelines of a cluster are doing over HTTP: '/livez', '/readyz' and '/startupz' for an orchestrator, '/metrics' for
 * Prometheus (needs prom-client), '/status' as JSON, '/scale' for KEDA's metrics-api scaler, and at '/' a live page of all of it.
 * docs/operations.md says what to do with each.
 *
 * It does not keep the process alive. Nothing it serves comes out of records unless `deadLetters.content` is set, and nothing is a secret.
 *
 * @throws MillraceError INVALID_OPTIONS, also where the port is taken
 * @example
 * const server = await serveStatus(cluster, { port: 9090, host: '0.0.0.0', token: process.env.OPS_TOKEN })
 */
export async function serveStatus(source: StatusSource, options: ServeStatusOptions = {}): Promise<StatusServer> {
  parseOptions(sourceSchema, [source], 'serveStatus')
  const { port, host, ...settings } = parseOptions(schema, options, 'serveStatus')
  const handle = handlerOf(source, { ...settings, page: settings.page ?? true })
  const server = createServer((req, res) => handle(req, res))
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, resolve)
    })
  } catch (error) {
    throw new MillraceError('INVALID_OPTIONS', `serveStatus: cannot listen on ${host}:${port}: ${errorMessage(error)}`, { cause: error })
  }
  server.unref()
  const bound = (server.address() as AddressInfo).port
  return {
    host,
    port: bound,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}${settings.prefix}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
