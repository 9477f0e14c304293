import { createHash } from 'node:crypto'
import { MillraceError, errorMessage } from '../../../record/error.js'
import { sameOrigin } from '../../../record/origin.js'
import { alone } from '../../../sinks/database/alone.js'
import type { Database, SqlRow, SqlTransaction } from '../../../sinks/database/database.js'
import type { ClaimNote, ClaimRequest, ClaimStore, ClaimTerms, HeldClaim, JoinedClaims, TransactionEnd } from './claim-store.js'
import type { ProcessedId } from './processed.js'
import { claimStatements, type ClaimStatements } from './sql-statements.js'

/** Runs statements in one transaction. */
export interface SqlRunner {
  readonly dialect: 'postgres' | 'sqlite'
  query(sql: string, params?: readonly unknown[]): Promise<readonly SqlRow[]>
}

/** A claim, and what came of it. */
export interface KnownClaim extends HeldClaim {
  readonly result: string | undefined
}

/** Longer ones would not fit into an index, and NUL into no text of PostgreSQL. */
const MAX_ID = 800
const MAX_LOOKS = 10

/** See `sqlClaims`. */
export class SqlClaimStore implements ClaimStore {
  readonly name: string
  readonly joined?: JoinedClaims
  /** Whether the tables are known to be there, whatever becomes of an open transaction. */
  private made = false
  private readonly makers = new WeakSet<object>()

  constructor(
    private readonly db: Database,
    private readonly table: string,
    private readonly createsTable: boolean,
    apart: boolean,
  ) {
    this.name = db.name
    if (!apart)
      this.joined = {
        db,
        claim: (tx, requests, terms) => this.claimIn(tx, requests, terms),
        note: (tx, notes) => this.noteIn(tx, notes),
      }
  }

  claim(requests: readonly ClaimRequest[], terms: ClaimTerms): Promise<readonly (HeldClaim | undefined)[]> {
    return this.alone((tx) => this.claimIn(tx, requests, terms))
  }

  async end(transaction: string, how: TransactionEnd, keepMs: number): Promise<void> {
    await this.alone(async (tx) => void (await tx.query((await this.statements(tx)).end, [transaction, how, keepMs])))
  }

  async ends(transactions: readonly string[]): Promise<readonly (TransactionEnd | undefined)[]> {
    return this.alone(async (tx) => {
      const names = JSON.stringify(transactions.map((i_name) => ({ i_name })))
      const rows = await tx.query((await this.statements(tx)).ends, [names])
      const known = new Map(rows.map(({ name, how }) => [name, how as TransactionEnd]))
      return transactions.map((transaction) => known.get(transaction))
    })
  }

  note(notes: readonly ClaimNote[]): Promise<void> {
    return this.alone((tx) => this.noteIn(tx, notes))
  }

  async find(id: string): Promise<ProcessedId | undefined> {
    const row = await this.alone(async (tx) => (await this.look(tx, await this.statements(tx), [keyOf(id)])).get(keyOf(id)))
    if (row === undefined || isOver(row)) return undefined
    const { origin, transaction, checksum } = heldOf(row)
    // One that was made in somebody's transaction is there when that has committed.
    const end = transaction === '' ? 'committed' : (await this.ends([transaction]))[0]
    if (end === 'aborted') return undefined
    return {
      id,
      state: end === 'committed' ? 'passed' : 'pending',
      origin,
      at: Number(row['claimed_at']),
      until: Number(row['expires_at']),
      duplicates: Number(row['duplicates']),
      result: textOf(row['result']),
      ...(checksum === undefined ? {} : { checksum }),
    }
  }

  /** How many ids are held. */
  count(): Promise<number> {
    return this.alone(async (tx) => Number((await tx.query((await this.statements(tx)).count))[0]?.['n']))
  }

  /** Deletes what is over, so many rows a transaction; returns how many. */
  async removeExpired({ batch = 1_000 }: { readonly batch?: number } = {}): Promise<number> {
    let removed = 0
    for (let gone = batch; gone >= batch; removed += gone) {
      gone = await this.alone(async (tx) => {
        const [claims = '', ends = ''] = (await this.statements(tx)).expired
        return (await tx.query(claims, [batch])).length + (await tx.query(ends, [batch])).length
      })
    }
    return removed
  }

  async close(): Promise<void> {}

  /** In order, in this transaction: undefined for an id that is now the request's, else who holds it. */
  async claimIn(tx: SqlRunner, requests: readonly ClaimRequest[], terms: ClaimTerms): Promise<readonly (KnownClaim | undefined)[]> {
    const holders = new Array<KnownClaim | undefined>(requests.length).fill(undefined)
    if (requests.length === 0) return holders
    const statements = await this.statements(tx)
    const given = [terms.group, terms.transaction, terms.generation, terms.withinMs] as const
    let open = requests.map((request, at) => ({ at, key: keyOf(request.id), request }))
    const claimed = async (sql: string, some: typeof open): Promise<void> => {
      // Of several with one id the first has it.
      const first = new Map([...some].reverse().map((one) => [one.key, one]))
      if (first.size === 0) return
      const rows = await tx.query(sql, [JSON.stringify([...first.values()].map(requestJson)), ...given])
      const won = new Set(rows.map(({ id }) => first.get(id as string)?.at))
      open = open.filter(({ at }) => !won.has(at))
    }
    const naming = open.filter(({ request }) => request.over !== undefined)
    await this.lock(tx, statements, naming)
    await claimed(statements.takeOver, naming)
    for (let looks = 0; open.length > 0; looks++) {
      await claimed(statements.insert, open)
      if (open.length === 0) break
      const rows = await this.look(
        tx,
        statements,
        open.map(({ key }) => key),
      )
      // One that was over, or was deleted since, is claimed in the next look.
      const free = open.filter(({ key }) => isOver(rows.get(key)))
      for (const { at, key, request } of open) {
        const row = rows.get(key)
        if (row === undefined || isOver(row)) continue
        const held = heldOf(row)
        const own = terms.transaction !== '' && held.transaction === terms.transaction && sameOrigin(held.origin, request.origin)
        holders[at] = own ? undefined : held
      }
      open = free
      if (looks > MAX_LOOKS) throw new MillraceError('CLAIM_PENDING', `ids of ${this.table} change hands all the time`, { retryable: true })
      const over = free.filter(({ key }) => rows.has(key))
      await this.lock(tx, statements, over)
      await claimed(statements.renew, over)
    }
    return holders
  }

  async noteIn(tx: SqlRunner, notes: readonly ClaimNote[]): Promise<void> {
    if (notes.length === 0) return
    const statements = await this.statements(tx)
    await this.lock(
      tx,
      statements,
      notes.map(({ id }) => ({ key: keyOf(id) })),
    )
    const rows = notes.map(({ id, duplicates, result }) => ({ i_id: keyOf(id), i_duplicates: duplicates, i_result: result ?? null }))
    await tx.query(statements.note, [JSON.stringify(rows)])
  }

  private async lock(tx: SqlRunner, { lock }: ClaimStatements, some: readonly { readonly key: string }[]): Promise<void> {
    if (lock !== undefined && some.length > 0) await tx.query(lock, [JSON.stringify(some.map(({ key }) => ({ i_id: key })))])
  }

  private async look(tx: SqlRunner, { look }: ClaimStatements, keys: readonly string[]): Promise<ReadonlyMap<string, SqlRow>> {
    const rows = await tx.query(look, [JSON.stringify([...new Set(keys)].map((i_id) => ({ i_id })))])
    return new Map(rows.map((row) => [row['id'] as string, row]))
  }

  /** Makes the tables where they are missing, in this transaction: another might have to wait for its end. */
  private async statements(tx: SqlRunner): Promise<ClaimStatements> {
    const statements = claimStatements(tx.dialect, this.table)
    if (this.made || !this.createsTable || this.makers.has(tx)) return statements
    if ((await tx.query(statements.exists)).length > 0) this.made = true
    else {
      for (const sql of statements.create) await tx.query(sql)
      this.makers.add(tx)
    }
    return statements
  }

  /** @throws MillraceError CLAIM_STORE_FAILED for what trying again cannot cure */
  private async alone<T>(work: (tx: SqlTransaction) => Promise<T>): Promise<T> {
    try {
      return await alone(this.db, work)
    } catch (error) {
      const blame = this.db.blame(error)
      if (error instanceof MillraceError || blame === 'away' || blame === 'again') throw error
      throw new MillraceError('CLAIM_STORE_FAILED', `${this.name} refuses claims in the table ${this.table}: ${errorMessage(error)}`, {
        cause: error,
      })
    }
  }
}

function requestJson({ key, request }: { readonly key: string; readonly request: ClaimRequest }): Readonly<Record<string, unknown>> {
  const { origin, over, checksum } = request
  return {
    i_id: key,
    i_topic: origin.topic,
    i_partition: origin.partition,
    i_offset: origin.offset,
    i_checksum: checksum ?? null,
    o_group: over?.group ?? null,
    o_topic: over?.origin.topic ?? null,
    o_partition: over?.origin.partition ?? null,
    o_offset: over?.origin.offset ?? null,
    o_transaction: over?.transaction ?? null,
  }
}

function keyOf(id: string): string {
  return id.length <= MAX_ID && !id.includes('\0') ? id : `sha256:${createHash('sha256').update(id).digest('hex')}`
}

/** Also one that is not there. */
function isOver(row: SqlRow | undefined): boolean {
  return row === undefined || Number(row['expires_at']) <= Number(row['now'])
}

function textOf(given: unknown): string | undefined {
  return given === null || given === undefined ? undefined : String(given)
}

function heldOf(row: SqlRow): KnownClaim {
  const checksum = textOf(row['checksum'])
  return {
    group: String(row['group']),
    origin: { topic: String(row['topic']), partition: Number(row['partition']), offset: Number(row['offset']) },
    transaction: String(row['transaction']),
    generation: Number(row['generation']),
    ageMs: Math.max(0, Number(row['now']) - Number(row['claimed_at'])),
    result: textOf(row['result']),
    ...(checksum === undefined ? {} : { checksum }),
  }
}
