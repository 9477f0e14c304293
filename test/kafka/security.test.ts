import { inspect } from 'node:util'
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs'
import { map } from 'rxjs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  describe as describePipeline,
  kafka,
  toTopic,
  withTransaction,
  type Cluster,
  type KafkaOptions,
  type Logger,
  type RecordStream,
} from '../../src/index.js'
import { startKafka, type KafkaConnection, type KafkaServer } from '../support/kafka/broker.js'
import { observe, uniqueName, type Observer } from '../support/kafka/client.js'
import { unsignedToken } from '../support/kafka/tokens.js'
import { until } from '../support/until.js'

const GROUP = 'copiers'

// Log-ins that are good for so many milliseconds, 0 for ever. kafkajs, which the tests look through, logs in again 10 s before the end.
describe.each([
  ['PLAIN', 0],
  ['SCRAM-SHA-512', 12_000],
  ['OAUTHBEARER', 0],
] as const)('a pipeline over TLS with %s, log-ins for %i ms', (mechanism, sessionMs) => {
  let server: KafkaServer
  let observer: Observer
  /** All that is said in these tests: log lines of every level, errors with all that hangs on them, descriptions. */
  const said: string[] = []
  const secrets = ['admin-secret', 'guest-secret', 'not-the-secret']
  const tell = <T>(what: T): T => {
    said.push(inspect(what, { depth: null, showHidden: true, maxStringLength: null }))
    return what
  }
  const log = (level: string) => (fields: object, message?: string) => void tell([level, fields, message])
  const telling: Logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }

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

  const clusterOf = ({ brokers, ssl, sasl }: KafkaConnection, options: Partial<KafkaOptions> = {}): Cluster =>
    kafka({ brokers, logger: telling, ...(ssl && { ssl: { ca: [...ssl.ca] } }), ...(sasl && { sasl: { ...sasl } }), ...options })
  const upperCase = (output: string) => (records: RecordStream) =>
    records.pipe(
      map((record) => record.with({ value: String(record.value).toUpperCase() })),
      toTopic({ topic: output }),
    )

  it('copies and commits; where a log-in ends, another on the same connection comes before', async () => {
    const [input, output] = [await observer.createTopic({ partitions: 2 }), await observer.createTopic({ partitions: 2 })]
    const group = uniqueName('group')
    const broken: unknown[] = []
    const debug = (fields: object, message: string): void => {
      telling.debug(fields, message)
      if ('reason' in fields && /clos/i.test(String(fields.reason))) broken.push(fields.reason)
    }
    const cluster = clusterOf(server.connection, { logger: { ...telling, debug } })
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

  /** What a copy ends with; undefined where it does its work. */
  const copying = async (
    connection: KafkaConnection,
    input: string,
    output: string,
    options: Partial<KafkaOptions> = {},
  ): Promise<unknown> => {
    const cluster = clusterOf(connection, options)
    const pipeline = cluster.source({ group: GROUP, topics: [input] }).pipe(withTransaction(upperCase(output), { every: 20 }))
    tell(String(describePipeline(pipeline)))
    tell(describePipeline(pipeline))
    let running: { unsubscribe(): void } | undefined
    try {
      return tell(
        await new Promise((resolve) => {
          running = pipeline.subscribe({ next: ({ outputs }) => outputs > 0 && resolve(undefined), error: resolve })
        }),
      )
    } finally {
      running?.unsubscribe()
      await cluster.close()
    }
  }

  it('what cannot log in is told what to look at', async () => {
    const topic = await observer.createTopic()
    const { connection } = server
    const wrong =
      mechanism === 'OAUTHBEARER'
        ? { ...connection.sasl, oauthBearerProvider: async () => ({ value: kept(unsignedToken('admin', { expiresIn: -30 })) }) }
        : { ...connection.sasl, password: 'not-the-secret' }
    expect(await copying({ ...connection, sasl: wrong as NonNullable<KafkaConnection['sasl']> }, topic, topic)).toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('Check mechanism, user and password in sasl'),
    })
  })

  it('a user without rights is told which are missing, one after the other, until all is well', async () => {
    const [input, output] = [await observer.createTopic(), await observer.createTopic()]
    await observer.produce(input, [{ value: 'a' }])
    const admin = await observer.admin()
    const { TOPIC, GROUP: OF_GROUP, TRANSACTIONAL_ID } = AclResourceTypes
    const { READ, WRITE, DESCRIBE } = AclOperationTypes
    const grant = async (resourceType: AclResourceTypes, resourceName: string, ...operations: AclOperationTypes[]): Promise<void> => {
      const acl = operations.map((operation) => ({
        resourceType,
        resourceName,
        operation,
        resourcePatternType: resourceName === '*' || resourceType === TOPIC ? ResourcePatternTypes.LITERAL : ResourcePatternTypes.PREFIXED,
        principal: 'User:guest',
        host: '*',
        permissionType: AclPermissionTypes.ALLOW,
      }))
      await admin.createAcls({ acl })
    }
    const refused = (...words: string[]) => ({
      code: 'UNAUTHORIZED',
      message: expect.stringMatching(new RegExp(words.map((word) => `(?=.*${word})`).join(''), 's')),
    })
    const asGuest = (): Promise<unknown> => copying(server.unprivileged as KafkaConnection, input, output)
    expect(await asGuest()).toMatchObject(refused('Read and Describe', input))
    await grant(TOPIC, input, DESCRIBE)
    await grant(TOPIC, output, DESCRIBE)
    expect(await asGuest()).toMatchObject(refused('right to the group', GROUP))
    await grant(OF_GROUP, GROUP, READ)
    expect(await asGuest()).toMatchObject(refused('transactional id', GROUP))
    await grant(TRANSACTIONAL_ID, GROUP, WRITE, DESCRIBE)
    expect(await asGuest()).toMatchObject(refused('Read on it', input))
    await grant(TOPIC, input, READ)
    expect(await asGuest()).toMatchObject(refused('Write on it', output))
    await grant(TOPIC, output, WRITE)
    expect(await asGuest()).toBeUndefined()
  })

  if (mechanism === 'OAUTHBEARER') {
    const given = (provider: () => Promise<unknown>): KafkaConnection =>
      ({ ...server.connection, sasl: { ...server.connection.sasl, oauthBearerProvider: provider } }) as KafkaConnection

    it('a provider that fails for a moment is asked again', async () => {
      const topic = await observer.createTopic()
      await observer.produce(topic, [{ value: 'a' }])
      let failures = 3
      const provider = async (): Promise<unknown> => {
        if (failures-- > 0) throw new Error('503 Service Unavailable')
        return { value: kept(unsignedToken('admin')) }
      }
      expect(await copying(given(provider), topic, await observer.createTopic())).toBeUndefined()
      expect(failures).toBeLessThan(0)
    })

    it('one that goes on failing is the environment, and one that gives no token the program', async () => {
      const failing = clusterOf(
        given(() => Promise.reject(new Error('503 Service Unavailable'))),
        { requestTimeout: '2s' },
      )
      expect(tell(await failing.topics(['t']).catch((error: unknown) => error))).toMatchObject({
        code: 'BROKER_UNREACHABLE',
        retryable: true,
        message: expect.stringMatching(/oauthBearerProvider failed: 503.*provider of tokens in sasl that fails, not Kafka/s),
      })
      await failing.close()
      const wrong = clusterOf(given(async () => ({ token: 'x' })))
      expect(tell(await wrong.topics(['t']).catch((error: unknown) => error))).toMatchObject({
        code: 'UNAUTHORIZED',
        message: expect.stringContaining('gave no { value: token }'),
      })
      await wrong.close()
    })
  }

  it('no secret shows up in any error, log or description', () => {
    expect(said.some((text) => text.includes('UNAUTHORIZED'))).toBe(true)
    expect(said.some((text) => text.includes('kafkajs'))).toBe(true)
    const told = said.join('\n')
    for (const secret of secrets) expect([secret.slice(0, 12), told.includes(secret)]).toEqual([secret.slice(0, 12), false])
  })

  function kept(token: string): string {
    secrets.push(token)
    return token
  }
})
