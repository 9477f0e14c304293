import type { Socket } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import type { SASLOptions } from 'kafkajs'
import { logError } from '../log/error.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { sleep, systemClock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import { addressName, type Address } from './address.js'
import { CONNECT_FAILURES, connectFailure } from './connect-failure.js'
import { Credentials } from './credentials.js'
import { Unanswered } from './errors.js'
import { Frames } from './frames.js'
import { KafkaJsConnection, bridge, silence } from './kafkajs.js'
import { logInFailure } from './log-in-failure.js'
import { openSocket } from './open-socket.js'
import type { Api, Throttled } from './protocol/api.js'
import type { VersionRange } from './protocol/api-versions.js'
import { Reader } from './protocol/reader.js'
import { encodeRequest } from './protocol/request.js'

export interface ConnectionSettings {
  readonly clientId: string
  readonly ssl: boolean | ConnectionOptions | undefined
  readonly sasl: SASLOptions | undefined
  readonly connectionTimeoutMs: number
  readonly logger: Logger
}

/** What a broker asks for whose quota is used up: nothing is sent to it until then, in milliseconds since the epoch. (KIP-219) */
export interface Pause {
  until: number
}

/** kafkajs has the same limit, and forgets it where the socket ends early. */
const CONNECT_MARGIN_MS = 100
const SASL_AUTHENTICATE_KEY = 36
const FRAME_LENGTH_BYTES = 4
const CORRELATION_BYTES = 4
/** Of a session: as long before its end is another log-in due. */
const LOG_IN_AGAIN_PART = 0.15
/** A broker may ask for as much at most. */
const LONGEST_PAUSE_MS = 600_000
/** A pause of this length is worth a warning. */
const LONG_PAUSE_MS = 5_000
/**
 * One socket to one broker. It is never connected twice: after it broke, another is opened.
 *
 * Under it is kafkajs's Connection, which does TCP, TLS, SASL, re-authentication, and keeps account of what is to be answered. Requests are
 * written and frames are read here, so that record batches go to the socket as they are, and lie where they came in.
 */
export class Connection {
  readonly name: string
  private readonly inner: KafkaJsConnection
  private readonly processLogIn: (data: Buffer) => void
  private ended: Error | undefined
  /** Rejects what kafkajs has under way of its own, which may never hear that the connection has ended. */
  private readonly endings = new Set<(error: Error) => void>()
  /** What the last request of kafkajs's own, all of them log-ins, failed with. */
  private logInError: unknown
  private readonly credentials: Credentials | undefined
  private pause: Pause = { until: 0 }
  /** Requests of ours that are to be answered. */
  private awaited = 0

  private constructor(
    private readonly settings: ConnectionSettings,
    address: Address,
  ) {
    this.name = addressName(address)
    this.credentials = settings.sasl === undefined ? undefined : new Credentials(settings.sasl)
    const frames = new Frames((frame) => this.receive(frame))
    const filledBy = (count: number): void => this.orClose(() => frames.filledBy(count))
    this.inner = new KafkaJsConnection({
      ...address,
      logger: bridge(settings.logger, (text) => this.credentials?.redact(text) ?? text),
      socketFactory: (request) => this.watched(openSocket(request, () => frames.room(), filledBy)),
      // Time limits are kept here: kafkajs leaves the connection open after one, and looks for them ten times a second.
      requestTimeout: settings.connectionTimeoutMs,
      enforceRequestTimeout: false,
      connectionTimeout: settings.connectionTimeoutMs,
      clientId: settings.clientId,
      ssl: settings.ssl === undefined || settings.ssl === false ? null : settings.ssl,
      sasl: this.credentials?.sasl ?? null,
    })
    silence(this.inner.requestQueue)
    this.processLogIn = this.inner.processData.bind(this.inner)
    // What TLS has decrypted; of a plain socket kafkajs sees nothing but log-ins.
    this.inner.processData = (data) => this.orClose(() => frames.push(data))
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

  /** The pause that a connection before this one was asked for holds here too, and the other way round. */
  keepTo(pause: Pause): void {
    this.pause = pause
    const { requestQueue } = this.inner
    requestQueue.throttledUntil = pause.until = Math.max(pause.until, requestQueue.throttledUntil)
  }

  /**
   * @param timeoutMs counted from when the request is given to the socket, which a pause can delay
   * @param onSent called then
   * @throws Unanswered, LogError UNAUTHORIZED; after a timeout the connection is closed, since a late answer could not be told from a lost
   * one
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
    if (response.throttleMs > 0) this.hold(response.throttleMs)
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
      let cancelTimer = (): void => {}
      const failed = (error: Error): void => {
        cancelTimer()
        this.expect(-1)
        // What ended the connection is no answer to what was sent over it, unless that is what this process wants.
        const asItIs = error instanceof MillraceError && (!sent || error.code === 'CLOSED')
        reject(asItIs ? error : new Unanswered(`${api.name} to ${this.name}: ${errorMessage(error)}`, sent, error))
      }
      this.expect(1)
      if (!this.usable) return failed(this.ended ?? new Error('the connection was closed'))
      const { key: apiKey, name: apiName, version: apiVersion } = api
      const correlationId = this.inner.nextCorrelationId()
      const buffers = encodeRequest(api, body, correlationId, this.settings.clientId)
      const sendRequest = (): void => {
        sent = true
        cancelTimer = systemClock.after(timeoutMs, () => this.close(new Unanswered(`no answer within ${timeoutMs} ms`, true)))
        this.write(buffers)
        onSent?.()
      }
      const answered = ({ payload }: { payload: Buffer }): void => {
        cancelTimer()
        this.expect(-1)
        resolve(payload)
      }
      const { requestQueue } = this.inner
      try {
        // Those held back go first: kafkajs would send this one before them where the pause has just ended.
        if (requestQueue.pending.length > 0) requestQueue.checkPendingRequests()
        requestQueue.push({
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
      this.close(new Unanswered('an answer before could not be read', false, error))
      if (error instanceof MillraceError) throw error
      throw logError(
        'BROKER_REFUSED',
        'fatal',
        `the answer of ${this.name} to ${api.name} v${api.version} cannot be read (${errorMessage(error)}): is it a Kafka broker?`,
        { cause: error },
      )
    }
  }

  /**
   * Whoever waits for an answer gets the error. kafkajs's own disconnect waits for the answers instead, which a long poll can hold back.
   */
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
    const cancelTimer = systemClock.after(connectionTimeoutMs + CONNECT_MARGIN_MS, () =>
      this.close(new Unanswered(`${this.name}: ${CONNECT_FAILURES['ETIMEDOUT']}`, false)),
    )
    try {
      await this.orEnd(this.inner.connect())
    } catch (error) {
      throw this.ended ?? connectFailure(this.name, error, this.settings.ssl !== undefined && this.settings.ssl !== false)
    } finally {
      cancelTimer()
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
    if (this.ended !== undefined) return
    if (inner.authHandlers !== null && inner.authHandlers !== undefined) return this.processLogIn(frame)
    const correlationId = frame.readInt32BE(FRAME_LENGTH_BYTES)
    if (!inner.requestQueue.inflight.has(correlationId)) throw new Error(`it answers request ${correlationId}, which was not made`)
    inner.requestQueue.fulfillRequest({
      size: frame.length - FRAME_LENGTH_BYTES,
      correlationId,
      payload: frame.subarray(FRAME_LENGTH_BYTES + CORRELATION_BYTES),
    })
  }

  /** What cannot be an answer leaves nothing to be told from what comes behind it. */
  private orClose(take: () => void): void {
    try {
      take()
    } catch (error) {
      this.close(new Unanswered(`${this.name} sent what is no answer of a Kafka broker: ${errorMessage(error)}`, false, error))
    }
  }

  /** A socket on which nothing is to come keeps no process alive. */
  private expect(more: number): void {
    this.awaited += more
    const { socket } = this.inner
    if (this.awaited > 0) socket?.ref()
    else socket?.unref()
  }

  private hold(throttleMs: number): void {
    const ms = Math.min(throttleMs, LONGEST_PAUSE_MS)
    this.inner.requestQueue.maybeThrottle(ms)
    this.keepTo(this.pause)
    const { logger } = this.settings
    if (ms >= LONG_PAUSE_MS)
      logger.warn(
        { broker: this.name, ms },
        'the broker asks for a pause, as a quota of this user is used up: nothing is sent to it until then',
      )
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
    // A log-in is a request like others: its time does not run while the broker wants nothing.
    const held = this.inner.requestQueue.throttledUntil - systemClock.now()
    if (held > 0) await this.orEnd(sleep(systemClock, held))
    this.logInError = undefined
    const cancelTimer = systemClock.after(this.settings.connectionTimeoutMs, () => this.close(new Unanswered(this.lateLogIn(), false)))
    try {
      await this.orEnd(this.inner.authenticate())
      // kafkajs's fixed 10 s would log in at every request where sessions are short, which brokers refuse.
      this.inner.reauthenticationThreshold = Math.round(this.inner.sessionLifetime.toNumber() * LOG_IN_AGAIN_PART)
    } catch (error) {
      const failure = logInFailure({
        name: this.name,
        error,
        ended: this.ended,
        requestError: this.logInError,
        credentials: this.credentials,
      })
      this.close(failure)
      throw failure
    } finally {
      cancelTimer()
    }
  }

  private lateLogIn(): string {
    const { connectionTimeoutMs: ms } = this.settings
    return this.credentials?.awaitsToken === true
      ? `sasl.oauthBearerProvider gave no token within ${ms} ms`
      : `no answer to the log-in within ${ms} ms`
  }
}
