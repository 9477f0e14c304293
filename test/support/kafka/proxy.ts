import { setTimeout as pause } from 'node:timers/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** What becomes of one request. */
export type Fate =
  /** Goes through, and so does its answer. */
  | 'pass'
  /** Goes through; its answer never arrives, the connection closes instead. */
  | 'lose answer'
  /** Never reaches the broker; the connection closes. */
  | 'lose request'
  /** Neither goes through nor is refused until `release`; then it reaches the broker, though nobody waits any more. */
  | 'hold'
  /** The connection closes at once; on `release` it reaches the broker all the same. */
  | 'deliver late'

export interface ProxiedRequest {
  readonly apiKey: number
  readonly version: number
  /** What follows the client id in the header. */
  readonly body: Buffer
  /** The connection that it came over: the same object for all its requests. */
  readonly connection: object
}

const METADATA = 3
const FIND_COORDINATOR = 10
const HOST = '127.0.0.1'

/** What becomes of all connections. */
export type Passage =
  | 'open'
  /** Nothing arrives on either side, and no connection ends: a cable that was pulled. */
  | 'paused'
  /** Connections are closed, and new ones as soon as they come. */
  | 'cut'

/**
 * Stands before a broker, knows Kafka's framing, and can lose or delay single requests and answers, or all. The addresses in the broker's
 * answers are changed to its own, so that clients stay with it; those of other brokers to their proxies, where these were started together.
 */
export class Proxy {
  decide: (request: ProxiedRequest) => Fate = () => 'pass'
  /** Sees each answer on its way back. It may change what is in it, not its length. */
  answered: (apiKey: number, answer: Buffer) => void = () => {}
  /** How many milliseconds later an answer arrives. What follows on its connection waits behind it. */
  delayOf: (apiKey: number) => number = () => 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()
  private held: { readonly apiKey: number; readonly send: () => void; readonly answered: Promise<void> }[] = []

  private passage: Passage = 'open'
  private reopened: Promise<void> = Promise.resolve()
  private reopen: () => void = () => {}
  private together: readonly Proxy[] = [this]

  private constructor(private readonly target: { host: string; port: number }) {
    this.server = createServer((socket) => this.accept(socket))
  }

  static async start(broker: string): Promise<Proxy> {
    const [host = HOST, port] = broker.split(':')
    const proxy = new Proxy({ host, port: Number(port) })
    await new Promise<void>((resolve) => proxy.server.listen(0, HOST, resolve))
    return proxy
  }

  /** One before each broker of a cluster. */
  static async startAll(brokers: readonly string[]): Promise<Proxy[]> {
    const all = await Promise.all(brokers.map((broker) => Proxy.start(broker)))
    for (const proxy of all) proxy.together = all
    return all
  }

  let(passage: Passage): void {
    this.reopen()
    this.passage = passage
    if (passage === 'paused') this.reopened = new Promise((resolve) => (this.reopen = resolve))
    if (passage === 'cut') for (const socket of this.sockets) socket.destroy()
  }

  get port(): number {
    return (this.server.address() as { port: number }).port
  }

  get address(): string {
    return `${HOST}:${this.port}`
  }

  get holding(): number {
    return this.held.length
  }

  /** The kinds of request held back, those behind others included. */
  get heldKinds(): Set<number> {
    return new Set(this.held.map(({ apiKey }) => apiKey))
  }

  /**
   * Lets the requests held back reach the broker, all or those of one kind. Resolves when it has answered them, or closed their
   * connections.
   */
  async release(apiKey?: number): Promise<void> {
    const released = this.held.filter((held) => apiKey === undefined || held.apiKey === apiKey)
    this.held = this.held.filter((held) => !released.includes(held))
    for (const { send } of released) send()
    await Promise.all(released.map(({ answered }) => answered))
  }

  async stop(): Promise<void> {
    this.let('cut')
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private accept(client: Socket): void {
    if (this.passage === 'cut') {
      client.on('error', () => {})
      client.destroy()
      return
    }
    const broker = connect(this.target)
    const doomed = new Set<number>()
    const asked = new Map<number, number>()
    const waiting = new Map<number, () => void>()
    let detached = false
    // Frames go on in their order, each when those before it have: nearly always at once.
    const towardsBroker = inTurn()
    const towardsClient = inTurn()
    for (const socket of [client, broker]) {
      this.sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => this.sockets.delete(socket))
    }
    client.on('close', () => {
      // What is held back still has to reach the broker.
      if (!detached) broker.destroy()
    })
    broker.on('close', () => {
      client.destroy()
      for (const resolve of waiting.values()) resolve()
    })
    client.on(
      'data',
      framed((frame) => {
        const body = frame.subarray(14 + frame.readInt16BE(12))
        const request = { apiKey: frame.readInt16BE(4), version: frame.readInt16BE(6), body, connection: client }
        const correlationId = frame.readInt32BE(8)
        const fate = this.decide(request)
        if (fate === 'lose request') {
          client.destroy()
          return
        }
        if (fate === 'lose answer') doomed.add(correlationId)
        asked.set(correlationId, request.apiKey)
        // A broker answers the requests of a connection in turn: what comes after one held back waits behind it.
        if (fate === 'hold' || fate === 'deliver late' || detached) {
          detached = true
          const answered = new Promise<void>((resolve) => waiting.set(correlationId, resolve))
          this.held.push({ apiKey: request.apiKey, send: () => broker.write(frame), answered })
          if (fate === 'deliver late') client.destroy()
        } else {
          towardsBroker(this.wait(0), () => broker.write(frame))
        }
      }),
    )
    broker.on(
      'data',
      framed((frame) => {
        const correlationId = frame.readInt32BE(4)
        const apiKey = asked.get(correlationId) ?? -1
        asked.delete(correlationId)
        if (apiKey === METADATA || apiKey === FIND_COORDINATOR) this.redirect(frame)
        this.answered(apiKey, frame)
        waiting.get(correlationId)?.()
        towardsClient(this.wait(this.delayOf(apiKey)), () => {
          if (doomed.has(correlationId)) client.destroy()
          else client.write(frame)
        })
      }),
    )
  }

  /** What a frame waits for before it goes on; undefined for nothing. */
  private wait(delayMs: number): Promise<void> | undefined {
    if (this.passage === 'paused') return this.reopened
    return delayMs > 0 ? pause(delayMs) : undefined
  }

  /** A host and port are a string and an int32: the port can be changed where it stands. */
  private redirect(frame: Buffer): void {
    // All places first: a proxy's port may be another broker's.
    const changes: [at: number, port: number][] = []
    for (const { target, port } of this.together) {
      const address = Buffer.alloc(2 + target.host.length + 4)
      address.writeInt16BE(target.host.length, 0)
      address.write(target.host, 2)
      address.writeInt32BE(target.port, 2 + target.host.length)
      for (let at = frame.indexOf(address); at >= 0; at = frame.indexOf(address, at + 1)) changes.push([at + address.length - 4, port])
    }
    for (const [at, port] of changes) frame.writeInt32BE(port, at)
  }
}

function inTurn(): (wait: Promise<void> | undefined, work: () => void) => void {
  let last: Promise<void> | undefined
  return (wait, work) => {
    if (wait === undefined && last === undefined) return work()
    const mine = Promise.all([last, wait]).then(() => {
      work()
      if (last === mine) last = undefined
    })
    last = mine
  }
}

/** Cuts a stream into Kafka's frames, size included. */
function framed(onFrame: (frame: Buffer) => void): (chunk: Buffer) => void {
  let buffered = Buffer.alloc(0)
  return (chunk) => {
    buffered = Buffer.concat([buffered, chunk])
    while (buffered.length >= 4 && buffered.length >= 4 + buffered.readInt32BE(0)) {
      const size = 4 + buffered.readInt32BE(0)
      onFrame(Buffer.from(buffered.subarray(0, size)))
      buffered = buffered.subarray(size)
    }
  }
}
