// A short suite on the embedded broker, for whoever has loaded the package: plain JavaScript, as it runs on every Node and module system.
const assert = require('node:assert/strict')
const { once } = require('node:events')
const net = require('node:net')

module.exports = async function suite({ millrace, testing, rxjs, codecs = {} }) {
  const { aggregate, attempt, count, deadLetter, dedupe, json, mapValue, recordKey, toTopic, tumbling, window, withTransaction } = millrace
  const kit = await testing.createTestKit({ topics: { in: { partitions: 2 }, out: {}, counts: {}, minutes: {}, dead: {} } })
  const keyed = (of) => ({ topic: of, value: json() })
  const pipeline = (cluster) =>
    cluster.source({ group: 'g', topics: ['in'] }).pipe(
      withTransaction(
        (records) =>
          records.pipe(
            dedupe({ by: recordKey(), within: '1d' }),
            attempt(async (record) => {
              if (String(record.value) === 'bad') throw new TypeError('bad')
              return String(record.value).toUpperCase()
            }),
            deadLetter({ topic: 'dead' }),
            toTopic({ topic: 'out' }),
            rxjs.map((record) => record.with({ key: record.key })),
            mapValue((value) => value.length),
            toTopic(keyed('counts')),
          ),
        { provision: true },
      ),
    )
  const windows = (cluster) =>
    cluster.source({ group: 'w', topics: ['in'] }).pipe(
      withTransaction((records) => records.pipe(window(tumbling('1m'), { aggregate: count() }), toTopic(keyed('minutes'))), {
        provision: true,
      }),
    )
  const sums = (cluster) =>
    cluster.source({ group: 's', topics: ['out'] }).pipe(
      withTransaction(
        (records) =>
          records.pipe(
            aggregate(count()),
            rxjs.tap((r) => seen.push(r.value)),
          ),
        { provision: true },
      ),
    )
  const seen = []

  const first = kit.run(pipeline(kit.cluster))
  kit.run(windows(kit.cluster))
  kit.run(sums(kit.cluster))
  await kit.feed('in', [
    { key: 'a', value: 'one', timestamp: 1_000 },
    { key: 'b', value: 'bad', timestamp: 2_000 },
    { key: 'a', value: 'again', timestamp: 3_000 },
  ])
  await kit.advance('1s')
  await first.crash()
  kit.run(pipeline(kit.cluster))
  await kit.feed('in', [
    { key: 'a', value: 'once more', timestamp: 200_000 },
    { key: 'b', value: 'b', timestamp: 200_000 },
    { key: 'c', value: 'two', timestamp: 200_000 },
  ])
  await kit.advance('1m')
  assert.deepEqual(
    (await kit.read('out')).map(({ key, value }) => [key, value]),
    [
      ['a', 'ONE'],
      ['c', 'TWO'],
    ],
  )
  assert.deepEqual(
    (await kit.read('dead')).map(({ key, value }) => [key, value]),
    [['b', 'bad']],
  )
  assert.deepEqual((await kit.read('minutes')).map(({ key }) => key).sort(), ['a', 'b'])
  assert.deepEqual(seen, [1, 1])
  await kit.stop()

  assert.throws(
    () => toTopic({ topik: 'x' }),
    (error) => error instanceof millrace.MillraceError && error.code === 'INVALID_OPTIONS',
  )
  // What talks to a broker is loaded, and comes as far as its first request.
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const asked = once(server, 'connection').then(([socket]) => once(socket, 'data').then(() => socket.destroy()))
  const cluster = millrace.kafka({ brokers: [`127.0.0.1:${server.address().port}`], codecs })
  // It goes on trying for some seconds; the process does not wait for that.
  cluster.topics(['a']).catch(() => {})
  await asked
  server.close()
  return 'passed'
}
