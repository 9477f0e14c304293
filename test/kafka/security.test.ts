import { map } from 'rxjs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { kafka, silentLogger, toTopic, withTransaction, type Cluster, type Logger, type RecordStream } from '../../src/index.js'
import { startKafka, type KafkaConnection, type KafkaServer } from '../support/kafka/broker.js'
import { observe, uniqueName, type Observer } from '../support/kafka/client.js'
import { until } from '../support/until.js'

// Log-ins that are good for so many milliseconds, 0 for ever. kafkajs, which the tests look through, logs in again 10 s before the end.
describe.each([
  ['PLAIN', 0],
  ['SCRAM-SHA-512', 12_000],
] as const)('a pipeline over TLS with %s, log-ins for %i ms', (mechanism, sessionMs) => {
  let server: KafkaServer
  let observer: Observer

  beforeAll(async () => {
    server = await startKafka({
      tls: true,
      sasl: { mechanism, username: 'admin', password: 'admin-secret' },
      authorizer: { unprivileged: { username: 'guest', password: 'guest-secret' } },
      config: { 'connections.max.reauth.ms': String(sessionMs) },
    })
    observer = observe(server.connection)
  })
  afterAll(async () => {
    await observer?.close()
    await server?.stop()
  })

  const clusterOf = ({ brokers, ssl, sasl }: KafkaConnection, logger: Logger = silentLogger): Cluster =>
    kafka({ brokers, logger, ...(ssl && { ssl: { ca: [...ssl.ca] } }), ...(sasl && { sasl: { ...sasl } }) })
  const upperCase = (output: string) => (records: RecordStream) =>
    records.pipe(
      map((record) => record.with({ value: String(record.value).toUpperCase() })),
      toTopic({ topic: output }),
    )

  it('copies and commits; where a log-in ends, another on the same connection comes before', async () => {
    const [input, output] = [await observer.createTopic({ partitions: 2 }), await observer.createTopic({ partitions: 2 })]
    const group = uniqueName('group')
    const broken: unknown[] = []
    const debug = (fields: object): void => void ('reason' in fields && /clos/i.test(String(fields.reason)) && broken.push(fields.reason))
    const cluster = clusterOf(server.connection, { ...silentLogger, debug })
    let copied = 0
    const failures: unknown[] = []
    const running = cluster
      .source({ group, topics: [input] })
      .pipe(withTransaction(upperCase(output), { every: 20 }))
      .subscribe({ next: ({ outputs }) => (copied += outputs), error: (error: unknown) => failures.push(error) })
    const times: number[] = []
    await until(
      async () => {
        const timestamp = Date.now()
        await cluster.produce({ topic: input, records: [{ value: `record ${times.length}`, partition: times.length % 2, timestamp }] })
        times.push(timestamp)
        return failures.length > 0 || timestamp - (times[0] ?? 0) > 1.2 * sessionMs
      },
      { within: 30_000 },
    )
    await until(() => failures.length > 0 || copied === times.length)
    expect(failures).toEqual([])
    expect(broken).toEqual([])
    running.unsubscribe()
    await cluster.close()
    const seen = (await observer.readAllJava(output)).map(({ value }) => String(value))
    expect(seen.sort()).toEqual(times.map((_, i) => `RECORD ${i}`).sort())
    const committed = await observer.committed(group, input)
    expect([...committed.values()].reduce((sum, offset) => sum + offset, 0)).toBe(times.length)
  })

  const runningAs = async (connection: KafkaConnection): Promise<unknown> => {
    const topic = await observer.createTopic()
    const cluster = clusterOf(connection)
    try {
      return await new Promise((resolve, reject) => {
        cluster
          .source({ group: uniqueName('group'), topics: [topic] })
          .pipe(withTransaction(upperCase(topic)))
          .subscribe({ error: resolve, complete: () => reject(new Error('completed')) })
      })
    } finally {
      await cluster.close()
    }
  }

  it('a wrong password, and a user without rights, end it with what to do', async () => {
    const { connection, unprivileged } = server
    const wrong = { ...connection, sasl: { ...connection.sasl, password: 'wrong' } as NonNullable<KafkaConnection['sasl']> }
    expect(await runningAs(wrong)).toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('Check mechanism, user and password in sasl'),
    })
    expect(await runningAs(unprivileged as KafkaConnection)).toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('Read and Describe'),
    })
  })
})
