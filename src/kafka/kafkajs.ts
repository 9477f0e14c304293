// @ts-expect-error kafkajs has no types for its parts
import connection from 'kafkajs/src/network/connection.js'
// @ts-expect-error
import compression from 'kafkajs/src/protocol/message/compression/index.js'
import type { Socket } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import type { Logger } from '../record/logger.js'

// What is used of kafkajs's inner Connection, which it does not export and has no types for.

interface KafkaJsRequestQueue {
  readonly pending: readonly unknown[]
  /** By correlation id: what was sent and is not answered. */
  readonly inflight: ReadonlyMap<number, unknown>
  /** Milliseconds since the epoch: what is to be sent waits until then. */
  throttledUntil: number
  fulfillRequest(answer: { size: number; correlationId: number; payload: Buffer }): void
  scheduleCheckPendingRequests(): void
  maybeThrottle(ms: number): void
  checkPendingRequests(): void
  rejectAll(error: Error): void
  destroy(): void
  push(request: {
    entry: {
      apiKey: number
      apiName: string
      apiVersion: number
      correlationId: number
      resolve: (response: { payload: Buffer }) => void
      reject: (error: Error) => void
    }
    expectResponse: boolean
    requestTimeout: null
    sendRequest: () => void
  }): void
}

export interface KafkaJsConnection {
  socket?: Socket
  readonly requestQueue: KafkaJsRequestQueue
  connectionStatus: string
  /** Set while it logs in. */
  readonly authHandlers: unknown
  processData(data: Buffer): void
  connect(): Promise<unknown>
  authenticate(): Promise<void>
  isConnected(): boolean
  isAuthenticated(): boolean
  /** Milliseconds a log-in is good for, 0 for ever. */
  readonly sessionLifetime: { toNumber(): number }
  /** Milliseconds before that to log in again. */
  reauthenticationThreshold: number
  setVersions(versions: Record<number, { minVersion: number; maxVersion: number }>): void
  setSupportAuthenticationProtocol(supported: boolean): void
  nextCorrelationId(): number
  send(request: unknown): Promise<unknown>
}

interface KafkaJsLogger {
  namespace(): KafkaJsLogger
  info(message: string, extra?: { broker?: string }): void
  error(message: string, extra?: { broker?: string }): void
  warn(message: string, extra?: { broker?: string }): void
  debug(message: string, extra?: { broker?: string }): void
}

export interface SocketRequest {
  host: string
  port: number
  ssl: boolean | ConnectionOptions | null
  onConnect: () => void
}

type KafkaJsConnectionClass = new (options: {
  host: string
  port: number
  logger: KafkaJsLogger
  socketFactory: (request: SocketRequest) => Socket
  requestTimeout: number
  enforceRequestTimeout: boolean
  connectionTimeout: number
  clientId: string
  ssl: boolean | ConnectionOptions | null
  sasl: object | null
}) => KafkaJsConnection

export const KafkaJsConnection = connection as KafkaJsConnectionClass

/** Codecs by the number of their format, those that were registered among them. */
export const registeredCodecs = (compression as { readonly Codecs: Readonly<Record<number, (() => unknown) | undefined>> }).Codecs

/** What kafkajs reports of a connection is either thrown as well or of no use to a user. */
export function bridge(logger: Logger, redact: (text: string) => string): KafkaJsLogger {
  const debug = (message: string, { broker }: { broker?: string } = {}): void => logger.debug({ broker }, redact(`kafkajs: ${message}`))
  const bridged: KafkaJsLogger = { namespace: () => bridged, info: debug, error: debug, warn: debug, debug: () => {} }
  return bridged
}

/**
 * kafkajs looks every millisecond whether throttled requests can go out, even where there are none.
 */
export function silence(queue: KafkaJsRequestQueue): void {
  const schedule = queue.scheduleCheckPendingRequests.bind(queue)
  queue.scheduleCheckPendingRequests = () => {
    if (queue.pending.length > 0) schedule()
  }
}
