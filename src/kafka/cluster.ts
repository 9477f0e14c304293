import { setMaxListeners } from 'node:events'
import type { CodecLookup } from '../log/batch/compression.js'
import { codecLookup, type CompressionCodecs } from './codecs.js'
import { logError } from '../log/error.js'
import type { TopicPartition } from '../log/port.js'
import type { Logger } from '../record/logger.js'
import { addressName, type Address } from './address.js'
import { Connection, type ConnectionSettings } from './connections.js'
import { ERROR, Refused, Unanswered, asLogError, check, closedError, refreshAfter, type Refresh } from './errors.js'
import { Lane, within } from './lane.js'
import { Leaders } from './leaders.js'
import type { Api, Throttled } from './protocol/api.js'
import { ApiVersions } from './protocol/api-versions.js'
import { FindCoordinator, type CoordinatorKind } from './protocol/find-coordinator.js'
import { Metadata, type TopicMetadata } from './protocol/metadata.js'
import { retryDelay, retrying } from './retry.js'
import { sleep, systemClock } from '../record/clock.js'
import { checkVersions, common, knowsProtocol2, tooOld, type Versions } from './versions.js'

export interface ClusterSettings extends ConnectionSettings {
  readonly brokers: readonly string[]
  readonly requestTimeoutMs: number
  /** Of formats that are not built in. */
  readonly codecs?: CompressionCodecs | undefined
}

export interface BrokerVersions {
  readonly versions: Versions
  readonly features: ReadonlyMap<string, number>
}

/** What a request is about, so that a retry looks the right thing up. */
export interface Subject {
  readonly topics?: readonly string[]
  readonly coordinator?: { readonly kind: CoordinatorKind; readonly key: string }
}

/** To reach any broker at all, over every address, where a request may take longer. */
const CONNECT_MS = 10_000
const TRANSACTION_VERSION_FEATURE = 'transaction.version'

/**
 * Who leads what: brokers, partition leaders and coordinators as last heard. Nothing expires here by itself; whoever is
 * answered that something has moved looks it up again.
 */
export class Cluster {
  readonly signal: AbortSignal
  readonly logger: Logger
  readonly codecs: CodecLookup
  readonly requestTimeoutMs: number
  /** How long one try of a request may take: a broker that is frozen leaves time for its successor. */
  readonly tryMs: number
  /** The same for what any broker can answer. */
  private readonly lookUpMs: number
  private readonly closing = new AbortController()
  private readonly bootstrap: readonly Address[]
  private readonly lanes = new Set<Lane>()
  private readonly control: Lane
  private brokers = new Map<number, Address>()
  private controller: number | undefined
  /** The errors that topics, and their partitions, were last listed with. */
  private readonly topics = new Map<string, { readonly error: number; readonly partitions: ReadonlyMap<number, number> }>()
  private readonly leaders = new Leaders()
  private changes = 0
  private readonly coordinators = new Map<string, Address>()
  /** What all brokers that were reached know. */
  private versions: Versions = new Map()
  private opening: Promise<BrokerVersions> | undefined

  constructor(private readonly settings: ClusterSettings) {
    this.signal = this.closing.signal
    // As many listen as there are connections being made: that is no leak.
    setMaxListeners(0, this.signal)
    this.logger = settings.logger
    this.codecs = codecLookup(settings.codecs ?? {})
    this.requestTimeoutMs = settings.requestTimeoutMs
    this.tryMs = Math.ceil(settings.requestTimeoutMs / 2)
    this.lookUpMs = Math.ceil(settings.requestTimeoutMs / 3)
    this.bootstrap = settings.brokers.map(parseAddress)
    this.control = this.lane()
  }

  /** Reaches the cluster once, and learns its brokers and versions. @throws LogError BROKER_UNREACHABLE, BROKER_TOO_OLD, UNAUTHORIZED */
  open(): Promise<BrokerVersions> {
    if (this.signal.aborted) return Promise.reject(closedError())
    this.opening ??= this.reach().catch((error: unknown) => {
      this.opening = undefined
      throw error
    })
    return this.opening
  }

  /** The version of the transaction protocol in force now: features are switched while brokers run. */
  async transactionProtocol(): Promise<1 | 2> {
    const { versions, features } = await this.retry({ what: 'looking up the versions of the brokers' }, async () =>
      this.versionsOf(await this.anyConnection(this.lookUpMs)),
    )
    return (features.get(TRANSACTION_VERSION_FEATURE) ?? 0) >= 2 && knowsProtocol2(versions) ? 2 : 1
  }

  /** The largest version of `wanted` the brokers know; they have been found to know one. */
  bestVersion<V extends number>(key: number, wanted: readonly V[]): V {
    const max = this.versions.get(key)?.max ?? 0
    return wanted.reduce((best, version) => (version <= max && version > best ? version : best))
  }

  lane(): Lane {
    const lane = new Lane((address) => this.connect(address))
    this.lanes.add(lane)
    return lane
  }

  closeLane(lane: Lane): void {
    this.lanes.delete(lane)
    lane.close()
  }

  /** Runs a step of the port; what has moved is looked up between tries. @throws LogError */
  retry<T>(
    options: Subject & { readonly what: string; readonly until?: number; readonly signal?: AbortSignal },
    attempt: () => Promise<T>,
  ): Promise<T> {
    const { what, until = systemClock.monotonic() + this.requestTimeoutMs, signal = this.signal } = options
    return retrying({ what, until, signal, logger: this.logger, refresh: (outdated) => this.lookUpAgain(outdated, options) }, attempt)
  }

  async lookUpAgain(outdated: Refresh, subject: Subject): Promise<void> {
    if (outdated === 'nothing') return
    if (subject.coordinator !== undefined) this.forgetCoordinator(subject.coordinator.kind, subject.coordinator.key)
    if (subject.topics !== undefined) await this.refresh(subject.topics)
  }

  /** Over the control lane, to whichever broker can be reached. */
  async any<Request, Response extends Throttled>(api: Api<Request, Response>, body: Request, timeoutMs = this.lookUpMs): Promise<Response> {
    const until = systemClock.monotonic() + timeoutMs
    const connection = await this.anyConnection(timeoutMs)
    return connection.request(api, body, Math.max(1, until - systemClock.monotonic()))
  }

  /** Over the control lane, to one broker. */
  request<Request, Response extends Throttled>(
    address: Address,
    api: Api<Request, Response>,
    body: Request,
    timeoutMs = this.tryMs,
  ): Promise<Response> {
    return this.control.send(address, api, body, timeoutMs)
  }

  /** Asks for the topics anew, or for the brokers alone. */
  async refresh(topics: readonly string[]): Promise<readonly TopicMetadata[]> {
    const response = await this.any(Metadata, { topics })
    this.changes++
    this.brokers = new Map(response.brokers.map(({ node, host, port }) => [node, { host, port }]))
    this.controller = response.controller < 0 ? undefined : response.controller
    for (const topic of response.topics) {
      const partitions = new Map(topic.partitions.map(({ partition, error }) => [partition, error]))
      this.topics.set(topic.topic, { error: topic.error, partitions })
      this.leaders.accept(topic)
    }
    return response.topics
  }

  /** Another number whenever a leader may be another: who asks of many remembers what it was told. */
  get leadersVersion(): number {
    return this.changes
  }

  /** As last heard; undefined where it was not asked for yet, there is none, or it is no longer among the brokers. */
  leader(topic: string, partition: number): number | undefined {
    const node = this.leaders.of(topic, partition)?.node
    return node === undefined || !this.brokers.has(node) ? undefined : node
  }

  /**
   * Which election made that leader one: a broker that was deposed since, or is yet to hear of it, refuses the request. -1 where that is
   * not known. (KIP-320)
   */
  leaderEpoch(topic: string, partition: number): number {
    return this.leaders.of(topic, partition)?.epoch ?? -1
  }

  /** Its leader is to be looked up before it is asked again. */
  forgetLeader(at: TopicPartition): void {
    this.changes++
    this.leaders.forget(at)
  }

  addressOf(node: number): Address {
    const address = this.brokers.get(node)
    if (address === undefined) throw new Unanswered(`broker ${node} is not among those the cluster lists`, false)
    return address
  }

  /** The error the last metadata had for a partition; UNKNOWN_TOPIC_OR_PARTITION where it was not listed. */
  partitionError(topic: string, partition: number): number {
    const known = this.topics.get(topic)
    if (known === undefined) return ERROR.unknownTopicOrPartition
    if (known.error !== ERROR.none) return known.error
    return known.partitions.get(partition) ?? ERROR.unknownTopicOrPartition
  }

  /** Why a partition has no leader, as last heard. */
  leaderless({ topic, partition }: TopicPartition, what: string): Refused {
    const known = this.partitionError(topic, partition)
    return new Refused(Metadata, known === ERROR.none ? ERROR.leaderNotAvailable : known, `${what} ${topic}/${partition}`)
  }

  /** Looks leaders up where they are not known, and groups the partitions by them. @throws Refused, Unanswered */
  async byLeader<T extends TopicPartition>(partitions: readonly T[], what: string): Promise<Map<number, T[]>> {
    const unknown = new Set<string>()
    for (const { topic, partition } of partitions) if (this.leader(topic, partition) === undefined) unknown.add(topic)
    if (unknown.size > 0) await this.refresh([...unknown])
    const groups = new Map<number, T[]>()
    for (const item of partitions) {
      const leader = this.leader(item.topic, item.partition)
      if (leader === undefined) {
        check(Metadata, this.partitionError(item.topic, item.partition), `${what} of ${item.topic}/${item.partition}`)
        check(Metadata, ERROR.leaderNotAvailable, `${what} of ${item.topic}/${item.partition}`)
      }
      const group = groups.get(leader as number)
      if (group === undefined) groups.set(leader as number, [item])
      else group.push(item)
    }
    return groups
  }

  async controllerAddress(): Promise<Address> {
    if (this.controller === undefined) await this.refresh([])
    return this.addressOf(this.controller ?? NO_NODE)
  }

  forgetController(): void {
    this.controller = undefined
  }

  async coordinator(kind: CoordinatorKind, key: string): Promise<Address> {
    const name = `${kind} ${key}`
    const known = this.coordinators.get(name)
    if (known !== undefined) return known
    const found = await this.any(FindCoordinator, { kind, key })
    check(FindCoordinator, found.error, `looking up the coordinator of ${kind === 'group' ? 'group' : 'transactional id'} '${key}'`)
    const address = { host: found.host, port: found.port }
    this.coordinators.set(name, address)
    return address
  }

  forgetCoordinator(kind: CoordinatorKind, key: string): void {
    this.coordinators.delete(`${kind} ${key}`)
  }

  close(): void {
    this.closing.abort(closedError())
    for (const lane of this.lanes) lane.close()
    this.lanes.clear()
  }

  private async connect(address: Address): Promise<Connection> {
    await this.open()
    return Connection.open(this.settings, address, this.signal, async (connection) => {
      // Each for itself: while a cluster is upgraded its brokers differ.
      const { versions } = await this.versionsOf(connection)
      this.versions = common(this.versions, versions)
      await connection.logIn(versions)
      return connection
    })
  }

  /** A broker that is connected already, else any other, else one of the addresses we were given. */
  private async anyConnection(timeoutMs: number): Promise<Connection> {
    const until = systemClock.monotonic() + timeoutMs
    await within(this.open(), timeoutMs, 'the cluster')
    const listed = [...this.brokers.values()]
    const connected = listed.filter((address) => this.control.has(address))
    const others = shuffled(listed.filter((address) => !this.control.has(address)))
    let failure: unknown
    for (const address of [...shuffled(connected), ...others, ...this.bootstrap]) {
      const left = until - systemClock.monotonic()
      if (failure !== undefined && left <= 0) break
      try {
        return await this.control.to(address, left)
      } catch (error) {
        if (refreshAfter(error) === undefined) throw error
        failure = error
      }
    }
    throw failure
  }

  private async reach(): Promise<BrokerVersions> {
    const timeoutMs = Math.min(CONNECT_MS, this.requestTimeoutMs)
    const until = systemClock.monotonic() + timeoutMs
    const failures = new Map<string, string>()
    for (let tries = 0; ; tries++) {
      for (const address of this.bootstrap) {
        if (this.signal.aborted) throw closedError()
        try {
          return await this.reachThrough(address, until - systemClock.monotonic())
        } catch (error) {
          if (this.signal.aborted) throw closedError()
          if (!(error instanceof Unanswered)) throw asLogError(error, 'connecting')
          // Time that has run out says less than what went wrong before.
          if (systemClock.monotonic() < until || !failures.has(addressName(address))) failures.set(addressName(address), error.message)
          this.logger.debug({ broker: addressName(address), reason: error.message }, 'broker not reached')
        }
        if (systemClock.monotonic() >= until) throw unreachable(this.settings, timeoutMs, failures)
      }
      const delay = retryDelay(tries + 4)
      if (systemClock.monotonic() + delay >= until) throw unreachable(this.settings, timeoutMs, failures)
      await sleep(systemClock, delay, this.signal)
    }
  }

  private async reachThrough(address: Address, timeoutMs: number): Promise<BrokerVersions> {
    const late = new AbortController()
    const cancelTimer = systemClock.after(timeoutMs, () =>
      late.abort(new Unanswered(`${addressName(address)}: no answer within ${timeoutMs} ms`, false)),
    )
    try {
      return await Connection.open(this.settings, address, AbortSignal.any([this.signal, late.signal]), async (connection) => {
        const found = await this.versionsOf(connection)
        await connection.logIn(found.versions)
        const { brokers, controller } = await connection.request(Metadata, { topics: [] }, this.settings.connectionTimeoutMs)
        this.versions = found.versions
        this.brokers = new Map(brokers.map(({ node, host, port }) => [node, { host, port }]))
        this.controller = controller < 0 ? undefined : controller
        connection.close(new Unanswered('closed', false))
        return found
      })
    } finally {
      cancelTimer()
    }
  }

  private async versionsOf(connection: Connection): Promise<BrokerVersions> {
    const payload = await connection.exchange(ApiVersions, {}, this.settings.connectionTimeoutMs)
    const { error, versions, features } = connection.decode(ApiVersions, payload, false)
    if (error === ERROR.unsupportedVersion) throw tooOld(connection.name, `it does not know ApiVersions v${ApiVersions.version}`)
    check(ApiVersions, error, `asking ${connection.name} for its versions`)
    checkVersions(connection.name, versions, this.settings.sasl !== undefined)
    return { versions, features }
  }
}

const NO_NODE = -1

function unreachable(settings: ClusterSettings, timeoutMs: number, failures: ReadonlyMap<string, string>): Error {
  const answered = [...failures.values()].some((text) => /no answer within|closed/i.test(text))
  const guess = [...failures.values()].some((text) => text.includes('oauthBearerProvider'))
    ? 'It is the provider of tokens in sasl that fails, not Kafka.'
    : answered
      ? `A broker took the connection but did not talk: the listener may expect ${settings.ssl ? 'no TLS' : 'TLS (set ssl)'}${settings.sasl === undefined ? ' or a log-in (set sasl)' : ''}.`
      : 'Check the addresses in brokers, that the brokers are up, and that a firewall lets this machine through.'
  return logError(
    'BROKER_UNREACHABLE',
    'retry',
    `no broker could be reached within ${timeoutMs / 1000} s: ${[...failures.values()].join('; ')}. ${guess}`,
  )
}

function parseAddress(text: string): Address {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text.trim())
  const port = Number(match?.[3])
  if (match === null || port < 1 || port > 65_535) {
    throw logError('INVALID_OPTIONS', 'fatal', `brokers: '${text}' is not an address of the form host:port`)
  }
  return { host: (match[1] ?? match[2]) as string, port }
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item)
}
