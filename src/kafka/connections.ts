import { createRequire } from 'node:module'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import type { SASLOptions } from 'kafkajs'
import { logError } from '../log/error.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import { Unanswered } from './errors.js'
import { Frames } from './frames.js'
import type { Api, Throttled } from './protocol/api.js'
import type { VersionRange } from './protocol/api-versions.js'
import { Reader } from './protocol/reader.js'
import { Writer } from './protocol/writer.js'

/**
 * The only place that reaches into kafkajs: its Connection does TCP, TLS, SASL, re-authentication, and keeps account of what is to be answered.
 * Requests are written and frames are read here, so that record batches go to the socket as they are, and lie where they came in.
 */
export interface ConnectionSettings {
  readonly clientId: string
  readonly ssl: boolean | ConnectionOptions | undefined
  readonly sasl: SASLOptions | undefined
  readonly connectionTimeoutMs: number
  readonly logger: Logger
}

export interface Address {
  readonly host: string
  readonly port: number
}

export function addressName({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

interface KafkaJsRequestQueue {
  readonly pending: readonly unknown[]
  fulfillRequest(answer: { size: number; correlationId: number; payload: Buffer }): void
  scheduleCheckPendingRequests(): void
  maybeThrottle(ms: number): void
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

interface KafkaJsConnection {
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

interface SocketRequest {
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

const require = createRequire(import.meta.url)
let connectionClass: KafkaJsConnectionClass | undefined

/** Loaded with the first connection, so that importing millrace loads no broker client. */
function kafkaJsConnection(): KafkaJsConnectionClass {
  connectionClass ??= require('kafkajs/src/network/connection') as KafkaJsConnectionClass
  return connectionClass
}

const KEEP_ALIVE_MS = 60_000
/** kafkajs has the same limit, and forgets it where the socket ends early. */
const CONNECT_MARGIN_MS = 100
const SASL_AUTHENTICATE_KEY = 36
const FRAME_LENGTH_BYTES = 4
const CORRELATION_BYTES = 4
/** Of a session: as long before its end is another log-in due. */
const LOG_IN_AGAIN_PART = 0.15

/** Nagle's algorithm would hold small requests back until the last one is acknowledged. */
function openSocket({ host, port, ssl, onConnect }: SocketRequest, frames: Frames): Socket {
  const onread = {
    buffer: () => frames.room(),
    callback: (count: number) => {
      frames.filledBy(count)
      return true
    },
  }
  const socket =
    ssl === null || ssl === false
      ? connectTcp({ host, port, onread }, onConnect)
      : connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...(ssl === true ? {} : ssl) }, onConnect)
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEP_ALIVE_MS)
  return socket
}

/** What kafkajs reports of a connection is either thrown as well or of no use to a user. */
function bridge(logger: Logger): KafkaJsLogger {
  const debug = (message: string, { broker }: { broker?: string } = {}): void => logger.debug({ broker }, `kafkajs: ${message}`)
  const bridged: KafkaJsLogger = { namespace: () => bridged, info: debug, error: debug, warn: debug, debug: () => {} }
  return bridged
}

/**
 * kafkajs looks every millisecond whether throttled requests can go out, even where there are none.
 */
function silence(queue: KafkaJsRequestQueue): void {
  const schedule = queue.scheduleCheckPendingRequests.bind(queue)
  queue.scheduleCheckPendingRequests = () => {
    if (queue.pending.length > 0) schedule()
  }
}

/** One socket to one broker. It is never connected twice: after it broke, another is opened. */
export class Connection {
  readonly name: string
  private readonly inner: KafkaJsConnection
  private readonly processLogIn: (data: Buffer) => void
  private ended: Error | undefined
  /** Rejects what kafkajs has under way of its own, which may never hear that the connection has ended. */
  private readonly endings = new Set<(error: Error) => void>()
  /** What the last request of kafkajs's own, all of them log-ins, failed with. */
  private logInError: unknown

  private constructor(
    private readonly settings: ConnectionSettings,
    address: Address,
  ) {
    this.name = addressName(address)
    const frames = new Frames((frame) => this.receive(frame))
    this.inner = new (kafkaJsConnection())({
      ...address,
      logger: bridge(settings.logger),
      socketFactory: (request) => this.watched(openSocket(request, frames)),
      // Time limits are kept here: kafkajs leaves the connection open after one, and looks for them ten times a second.
      requestTimeout: settings.connectionTimeoutMs,
      enforceRequestTimeout: false,
      connectionTimeout: settings.connectionTimeoutMs,
      clientId: settings.clientId,
      ssl: settings.ssl === undefined || settings.ssl === false ? null : settings.ssl,
      // kafkajs keeps the authenticator in the object it is given.
      sasl: settings.sasl === undefined ? null : { ...settings.sasl },
    })
    silence(this.inner.requestQueue)
    this.processLogIn = this.inner.processData.bind(this.inner)
    // What TLS has decrypted; of a plain socket kafkajs sees nothing but log-ins.
    this.inner.processData = (data) => frames.push(data)
    const send = this.inner.send.bind(this.inner)
    this.inner.send = async (request) => {
      try {
        return await send(request)
      } catch (error) {
        this.logInError = error
        throw error
      }
    }
  }

  /**
   * Connects, and logs in or whatever `use` does first; the signal ends either with its reason.
   *
   * @throws Unanswered, LogError BROKER_UNREACHABLE where the certificate of the broker is not trusted, what `use` throws
   */
  static async open<T>(
    settings: ConnectionSettings,
    address: Address,
    signal: AbortSignal,
    use: (connection: Connection) => Promise<T>,
  ): Promise<T> {
    if (signal.aborted) throw signal.reason
    const connection = new Connection(settings, address)
    const giveUp = (): void => connection.close(signal.reason as Error)
    signal.addEventListener('abort', giveUp)
    try {
      await connection.connect()
      return await use(connection)
    } catch (error) {
      connection.close(error as Error)
      throw error
    } finally {
      signal.removeEventListener('abort', giveUp)
    }
  }

  get usable(): boolean {
    return this.ended === undefined && this.inner.isConnected()
  }

  /**
   * Logs in where the settings say how. The versions tell kafkajs which log-in requests the broker knows.
   *
   * @throws Unanswered, LogError UNAUTHORIZED
   */
  async logIn(versions: ReadonlyMap<number, VersionRange>): Promise<void> {
    if (this.settings.sasl === undefined) return
    this.inner.setVersions(Object.fromEntries([...versions].map(([key, { min, max }]) => [key, { minVersion: min, maxVersion: max }])))
    this.inner.setSupportAuthenticationProtocol(versions.has(SASL_AUTHENTICATE_KEY))
    await this.authenticate()
  }

  /**
   * @param onSent called when the request is given to the socket, which throttling can delay
   * @throws Unanswered, LogError UNAUTHORIZED; after a timeout the connection is closed, since a late answer could not be told from a lost one
   */
  async request<Request, Response extends Throttled>(
    api: Api<Request, Response>,
    body: Request,
    timeoutMs: number,
    onSent?: () => void,
  ): Promise<Response> {
    if (this.settings.sasl !== undefined && !this.inner.isAuthenticated()) await this.authenticate()
    const payload = await this.exchange(api, body, timeoutMs, onSent)
    const response = this.decode(api, payload)
    this.inner.requestQueue.maybeThrottle(response.throttleMs)
    return response
  }

  /** As `request`, before the log-in; gives the bare answer. */
  exchange<Request, Response extends Throttled>(
    api: Api<Request, Response>,
    body: Request,
    timeoutMs: number,
    onSent?: () => void,
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      let sent = false
      const failed = (error: Error): void => {
        clearTimeout(timer)
        reject(error instanceof MillraceError ? error : new Unanswered(`${api.name} to ${this.name}: ${errorMessage(error)}`, sent, error))
      }
      const timer = setTimeout(() => this.close(new Unanswered(`no answer within ${timeoutMs} ms`, true)), timeoutMs)
      if (!this.usable) return failed(this.ended ?? new Error('the connection was closed'))
      const { key: apiKey, name: apiName, version: apiVersion } = api
      const correlationId = this.inner.nextCorrelationId()
      const buffers = encode(api, body, correlationId, this.settings.clientId)
      const sendRequest = (): void => {
        sent = true
        this.write(buffers)
        onSent?.()
      }
      const answered = ({ payload }: { payload: Buffer }): void => {
        clearTimeout(timer)
        resolve(payload)
      }
      try {
        this.inner.requestQueue.push({
          entry: { apiKey, apiName, apiVersion, correlationId, resolve: answered, reject: failed },
          expectResponse: true,
          requestTimeout: null,
          sendRequest,
        })
      } catch (error) {
        failed(error as Error)
      }
    })
  }

  /** @throws LogError BROKER_REFUSED where the answer does not have the form it should */
  decode<Request, Response extends Throttled>(api: Api<Request, Response>, payload: Buffer, headerTags = api.flexible): Response {
    const reader = new Reader(payload)
    try {
      if (headerTags) reader.tags()
      return api.decode(reader)
    } catch (error) {
      if (error instanceof MillraceError) throw error
      throw logError(
        'BROKER_REFUSED',
        'fatal',
        `the answer of ${this.name} to ${api.name} v${api.version} cannot be read (${errorMessage(error)}): is it a Kafka broker?`,
        { cause: error },
      )
    }
  }

  /** Whoever waits for an answer gets the error. kafkajs's own disconnect waits for the answers instead, which a long poll can hold back. */
  close(error: Error): void {
    if (this.ended !== undefined) return
    this.ended = error
    const { inner } = this
    inner.connectionStatus = 'disconnected'
    inner.requestQueue.rejectAll(error)
    inner.requestQueue.destroy()
    inner.socket?.destroy()
    for (const reject of this.endings) reject(error)
  }

  private async connect(): Promise<void> {
    const { connectionTimeoutMs } = this.settings
    const timer = setTimeout(
      () => this.close(new Unanswered(`${this.name}: ${CONNECT_FAILURES['ETIMEDOUT']}`, false)),
      connectionTimeoutMs + CONNECT_MARGIN_MS,
    )
    try {
      await this.orEnd(this.inner.connect())
    } catch (error) {
      throw this.ended ?? connectFailure(this.name, error, this.settings)
    } finally {
      clearTimeout(timer)
    }
  }

  private watched(socket: Socket): Socket {
    // What the error was comes first, over a promise or two of kafkajs's.
    socket.once('close', () => setImmediate(() => this.close(new Unanswered(`${this.name} closed the connection`, false))))
    return socket
  }

  /** kafkajs would put every frame together from its pieces anew. */
  private receive(frame: Buffer): void {
    const { inner } = this
    if (inner.authHandlers !== null && inner.authHandlers !== undefined) return this.processLogIn(frame)
    inner.requestQueue.fulfillRequest({
      size: frame.length - FRAME_LENGTH_BYTES,
      correlationId: frame.readInt32BE(FRAME_LENGTH_BYTES),
      payload: frame.subarray(FRAME_LENGTH_BYTES + CORRELATION_BYTES),
    })
  }

  private orEnd<T>(work: Promise<T>): Promise<T> {
    if (this.ended !== undefined) return Promise.reject(this.ended)
    return new Promise((resolve, reject) => {
      this.endings.add(reject)
      work.then(resolve, reject).finally(() => this.endings.delete(reject))
    })
  }

  private write(buffers: readonly Buffer[]): void {
    const { socket } = this.inner
    if (socket === undefined) return
    socket.cork()
    for (const buffer of buffers) socket.write(buffer)
    socket.uncork()
  }

  private async authenticate(): Promise<void> {
    this.logInError = undefined
    const timer = setTimeout(() => this.close(new Unanswered('no answer to the log-in', true)), this.settings.connectionTimeoutMs)
    try {
      await this.orEnd(this.inner.authenticate())
      // kafkajs's fixed 10 s would log in at every request where sessions are short, which brokers refuse.
      this.inner.reauthenticationThreshold = this.inner.sessionLifetime.toNumber() * LOG_IN_AGAIN_PART
    } catch (error) {
      const reported = (this.logInError ?? error) as Error
      const refused = 'type' in reported || this.logInError === undefined
      const failure =
        this.ended !== undefined || !refused
          ? new Unanswered(`log-in to ${this.name}: ${errorMessage(this.ended ?? reported)}`, true, error)
          : logError(
              'UNAUTHORIZED',
              'fatal',
              `log-in to ${this.name} refused: ${errorMessage(error)}. Check mechanism, user and password in sasl`,
              { cause: error },
            )
      this.close(failure)
      throw failure
    } finally {
      clearTimeout(timer)
    }
  }
}

function encode<Request, Response extends Throttled>(
  api: Api<Request, Response>,
  body: Request,
  correlationId: number,
  clientId: string,
): readonly Buffer[] {
  const writer = new Writer()
  writer.int32(0)
  writer.int16(api.key)
  writer.int16(api.version)
  writer.int32(correlationId)
  writer.string(clientId)
  if (api.flexible) writer.noTags()
  api.encode(writer, body)
  return writer.finish()
}

/** Trying again is of no use with these. */
const CERTIFICATE_FAILURES: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate of the broker is self-signed: give its authority in ssl.ca',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate of the broker comes from an unknown authority: give it in ssl.ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the certificate of the broker comes from an unknown authority: give it in ssl.ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the certificate of the broker comes from an unknown authority: give it in ssl.ca',
  CERT_HAS_EXPIRED: 'the certificate of the broker has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the certificate of the broker is for another host name: use that name in brokers, or set ssl.servername',
}

const CONNECT_FAILURES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused: no broker listens there',
  ENOTFOUND: 'the host name is not known',
  EAI_AGAIN: 'the host name could not be looked up: is there a network?',
  EHOSTUNREACH: 'no way to the host',
  ENETUNREACH: 'no way to the network of the host',
  ETIMEDOUT: 'no answer: a firewall, or the wrong host',
  ECONNRESET: 'the connection was reset while it was set up',
  EPROTO: 'the TLS handshake failed: the listener may not speak TLS',
}

/** The likely cause behind a connection that could not be made. */
function connectFailure(name: string, error: unknown, settings: ConnectionSettings): Error {
  const { code = '', message = '' } = error as { code?: string; message?: string }
  const certificate = CERTIFICATE_FAILURES[code]
  if (certificate !== undefined) return logError('BROKER_UNREACHABLE', 'fatal', `${name}: ${certificate}`, { cause: error })
  const resetByPlainText = settings.ssl !== undefined && settings.ssl !== false && code === 'ECONNRESET'
  const known = resetByPlainText ? CONNECT_FAILURES['EPROTO'] : CONNECT_FAILURES[message === 'Connection timeout' ? 'ETIMEDOUT' : code]
  return new Unanswered(`${name}: ${known ?? (message || code || 'the connection failed')}`, false, error)
}
