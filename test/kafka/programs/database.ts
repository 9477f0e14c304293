/**
 * A process that copies a topic into PostgreSQL and to another topic, and can be told to die: KILL_AT names a step of either transaction,
 * KILL_AFTER how often it is let pass; STOP_AT has it stop itself there (SIGSTOP) instead. BROKEN: 'apart' has the positions written after the
 * database's commit, 'no-epoch' has whoever comes write them. CLAIMS has ids claimed in the same database, by the text of the record;
 * 'before' takes one that is claimed for processed, whoever claimed it. Sends its parent a line for each commit.
 */
import pg from 'pg'
import { lastValueFrom, tap } from 'rxjs'
import {
  append,
  dedupe,
  kafka,
  shutdownSignal,
  sqlClaims,
  toDatabase,
  toTopic,
  withTransaction,
  type JoinedClaims,
  type RawRecord,
  type RecordStream,
} from '../../../src/index.js'
import { postgres } from '../../../src/sinks/database/postgres.js'
import { doomed } from '../../support/doomed.js'

const { INPUT = '', OUTPUT = '', GROUP = '', TABLE = '', DATABASE_URL = '', INSTANCE, MAX_RECORDS = '500', BROKEN, CLAIMS } = process.env
const { KILL_AT, STOP_AT, KILL_AFTER = '0' } = process.env

let passed = 0
const pass = (step: 'rows-written' | 'database-committed'): void => {
  const signal = step === KILL_AT ? 'SIGKILL' : step === STOP_AT ? 'SIGSTOP' : undefined
  if (signal !== undefined && passed++ === Number(KILL_AFTER)) process.kill(process.pid, signal)
}

const pool = new pg.Pool({ connectionString: DATABASE_URL })
const whole = postgres(pool, { table: `${TABLE}_positions`, idleTimeout: '60s' })
const db: typeof whole = {
  name: whole.name,
  take: (group, places) => whole.take(group, places),
  read: (group, places) => whole.read(group, places),
  blame: (error) => whole.blame(error),
  async begin() {
    const tx = await whole.begin()
    return {
      handle: tx.handle,
      rollback: (hard) => tx.rollback(hard),
      async commit(group, changes) {
        pass('rows-written')
        let current = changes
        if (BROKEN === 'no-epoch') {
          const rows = await whole.read(group, changes)
          current = changes.map((change, i) => ({ ...change, epoch: rows[i]?.epoch ?? 0, was: rows[i]?.position ?? 0 }))
        }
        const committed = await tx.commit(group, BROKEN === 'apart' ? [] : current)
        if (committed) pass('database-committed')
        if (BROKEN === 'apart') await (await whole.begin()).commit(group, current)
        return committed
      },
    }
  },
}
const rows = append<RawRecord>({ table: TABLE, columns: { n: ({ value }) => String(value) } })
const claims = sqlClaims({ db, table: `${TABLE}_inbox` })
const store =
  CLAIMS === 'before'
    ? Object.assign(Object.create(claims) as typeof claims, {
        joined: {
          ...(claims.joined as JoinedClaims),
          claim: async (...given: Parameters<JoinedClaims['claim']>) =>
            (await claims.joined?.claim(...given))?.map((held) => held && { ...held, group: 'whoever' }),
        },
      })
    : claims
const once = dedupe<RawRecord>({ by: ({ value }) => String(value), within: '1h', store })
const fresh = (records: RecordStream) => (CLAIMS === undefined ? records : records.pipe(once))

const cluster = kafka(doomed())
await lastValueFrom(
  cluster
    .source({
      group: GROUP,
      topics: [INPUT],
      signal: shutdownSignal(),
      sessionTimeout: 6_000,
      ...(INSTANCE === undefined ? {} : { instanceId: INSTANCE }),
    })
    .pipe(
      withTransaction((records) => fresh(records).pipe(toDatabase(db, rows), toTopic({ topic: OUTPUT })), {
        every: 30,
        maxRecords: Number(MAX_RECORDS),
      }),
      tap((commit) => console.log(JSON.stringify({ records: commit.records, lag: commit.lag, meters: commit.meters }))),
    ),
  { defaultValue: undefined },
)
await cluster.close()
await pool.end()
