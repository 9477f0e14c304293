import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { Address } from '../../../src/kafka/address.js'
import { Connection, type ConnectionSettings } from '../../../src/kafka/connections.js'
import { Unanswered } from '../../../src/kafka/errors.js'
import { Frames } from '../../../src/kafka/frames.js'
import { Lane } from '../../../src/kafka/lane.js'
import { Heartbeat } from '../../../src/kafka/protocol/heartbeat.js'
import { logError } from '../../../src/log/error.js'
import { silentLogger } from '../../../src/record/logger.js'
import { until } from '../../support/until.js'

const settings: ConnectionSettings = { clientId: 'test', ssl: undefined, sasl: undefined, connectionTimeoutMs: 3_000, logger: silentLogger }
const never = new AbortController().signal

interface Asked {
  readonly at: number
  readonly correlationId: number
  /** The name of the member that the heartbeat is of. */
  readonly member: string
}

/** A broker that knows heartbeats. */
class FakeBroker {
  readonly asked: Asked[] = []
  private readonly sockets = new Set<Socket>()

  private constructor(
    private readonly server: Server,
    readonly address: Address,
  ) {}

  static async start(answer: (asked: Asked, socket: Socket) => void): Promise<FakeBroker> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const broker = new FakeBroker(server, { host: '127.0.0.1', port: (server.address() as AddressInfo).port })
    server.on('connection', (socket) => {
      broker.sockets.add(socket.on('error', () => {}))
      const frames = new Frames((frame) => {
        // The client id, the group, the generation.
        let at = 14 + frame.readInt16BE(12)
        at += 2 + frame.readInt16BE(at) + 4
        const asked = {
          at: Date.now(),
          correlationId: frame.readInt32BE(8),
          member: frame.toString('utf8', at + 2, at + 2 + frame.readInt16BE(at)),
        }
        broker.asked.push(asked)
        answer(asked, socket)
      })
      socket.on('data', (bytes) => frames.push(bytes))
    })
    return broker
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy()
    this.server.close()
  }
}

function answerOf({ correlationId }: Asked, throttleMs = 0): Buffer {
  const bytes = Buffer.alloc(14)
  bytes.writeInt32BE(10, 0)
  bytes.writeInt32BE(correlationId, 4)
  bytes.writeInt32BE(throttleMs, 8)
  return bytes
}

const beatOf = (memberId: string) => ({ group: 'g', memberId, generation: 1, instanceId: undefined })

describe('connections', () => {
  let broker: FakeBroker | undefined
  afterEach(() => broker?.stop())

  const opened = async (answer: (asked: Asked, socket: Socket) => void): Promise<Connection> => {
    broker = await FakeBroker.start(answer)
    return Connection.open(settings, broker.address, never, async (connection) => connection)
  }

  it.each([
    ['no bytes', Buffer.alloc(4)],
    ['less than a correlation id', Buffer.from([0, 0, 0, 3, 1, 2, 3])],
    ['less than none', Buffer.from([255, 255, 255, 255, 0, 0, 0, 0])],
    ['a web page', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['the answer to something else', Buffer.from([0, 0, 0, 10, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0])],
  ])('a frame with %s ends the connection, and nothing else', async (_, bytes) => {
    const connection = await opened((__, socket) => socket.write(bytes))
    const failure = await connection.request(Heartbeat, beatOf('m'), 10_000).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(Unanswered)
    expect(failure).toMatchObject({ sent: true, message: expect.stringContaining('no answer of a Kafka broker') })
    expect(connection.usable).toBe(false)
  })

  it('an answer that cannot be read ends the connection: what comes behind it could be anything', async () => {
    const connection = await opened(({ correlationId }, socket) => socket.write(Buffer.from([0, 0, 0, 5, 0, 0, 0, correlationId, 9])))
    await expect(connection.request(Heartbeat, beatOf('m'), 10_000)).rejects.toMatchObject({ code: 'BROKER_REFUSED', reaction: 'fatal' })
    expect(connection.usable).toBe(false)
  })

  it('what was sent when a connection is ended for another request is unanswered, whatever ended it', async () => {
    const connection = await opened(() => {})
    const waiting = connection.request(Heartbeat, beatOf('m'), 10_000).catch((error: unknown) => error)
    await until(() => broker?.asked.length === 1)
    connection.close(logError('UNAUTHORIZED', 'fatal', 'the log-in ended'))
    expect(await waiting).toMatchObject({ sent: true, message: expect.stringContaining('the log-in ended') })
    expect(await waiting).toBeInstanceOf(Unanswered)
  })

  it('the time of a request does not run while the broker wants a pause', async () => {
    const connection = await opened((asked, socket) => socket.write(answerOf(asked, asked.member === 'first' ? 400 : 0)))
    await connection.request(Heartbeat, beatOf('first'), 10_000)
    expect(broker?.asked).toHaveLength(1)
    // Longer than it may take once it is sent.
    await expect(connection.request(Heartbeat, beatOf('second'), 200)).resolves.toMatchObject({ error: 0 })
  })

  it('requests keep their order over a pause', async () => {
    const connection = await opened((asked, socket) => socket.write(answerOf(asked, asked.member === 'first' ? 100 : 0)))
    await connection.request(Heartbeat, beatOf('first'), 10_000)
    const end = Date.now() + 100
    const held = ['second', 'third'].map((member) => connection.request(Heartbeat, beatOf(member), 10_000))
    // Its end is noticed by nobody while the process is busy.
    while (Date.now() <= end);
    await Promise.all([...held, connection.request(Heartbeat, beatOf('fourth'), 10_000)])
    expect(broker?.asked.map(({ member }) => member)).toEqual(['first', 'second', 'third', 'fourth'])
  })

  it('a pause outlasts the connection', async () => {
    let pausedUntil = 0
    broker = await FakeBroker.start((asked, socket) => {
      if (asked.member !== 'first') return void socket.write(answerOf(asked))
      pausedUntil = Date.now() + 300
      socket.end(answerOf(asked, 300))
    })
    const { address } = broker
    const lane = new Lane((to) => Connection.open(settings, to, never, async (connection) => connection))
    await lane.send(address, Heartbeat, beatOf('first'), 10_000)
    await until(() =>
      lane.send(address, Heartbeat, beatOf('second'), 10_000).then(
        () => true,
        () => false,
      ),
    )
    expect(broker.asked.at(-1)).toMatchObject({ member: 'second' })
    expect(broker.asked.at(-1)?.at).toBeGreaterThanOrEqual(pausedUntil)
    lane.close()
  })
})
