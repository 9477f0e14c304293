import { memoryClaims, type ClaimStore } from '../../src/index.js'
import type { Clock } from '../../src/testing/index.js'

/** What one process has of a store; nothing of it gets there any more once the process is gone. */
export function viewOf(store: ClaimStore): ClaimStore & { crash(): void } {
  let gone = false
  const never = new Promise<never>(() => {})
  const through =
    <A extends readonly unknown[], T>(call: (...given: A) => Promise<T>) =>
    (...given: A): Promise<T> =>
      gone ? never : call(...given)
  return {
    name: store.name,
    claim: through(store.claim.bind(store)),
    end: through(store.end.bind(store)),
    ends: through(store.ends.bind(store)),
    note: through(store.note.bind(store)),
    find: through(store.find.bind(store)),
    close: through(store.close.bind(store)),
    ...(store.exclusive === undefined
      ? {}
      : {
          exclusive: {
            put: through(store.exclusive.put.bind(store.exclusive)),
            get: through(store.exclusive.get.bind(store.exclusive)),
            remove: through(store.exclusive.remove.bind(store.exclusive)),
            forget: through(store.exclusive.forget.bind(store.exclusive)),
          },
        }),
    crash() {
      gone = true
    },
  }
}

/** How it is often done: an id is taken for processed from the moment it is claimed, whoever comes again. */
export function marksBefore(clock: Clock): ClaimStore {
  const store = memoryClaims({ clock })
  return {
    ...viewOf(store),
    claim: async (requests, terms) =>
      (
        await store.claim(
          requests.map(({ id, origin }) => ({ id, origin })),
          terms,
        )
      ).map((held) => held && { ...held, group: 'whoever', transaction: 'over' }),
    ends: async (asked) => asked.map(() => 'committed'),
  }
}

/** And so: an id is marked when its record has been processed. */
export function marksAfter(clock: Clock): ClaimStore {
  const store = memoryClaims({ clock })
  const open = new Map<string, Parameters<ClaimStore['claim']>[]>()
  return {
    ...viewOf(store),
    async claim(requests, terms) {
      const scratch = { ...terms, transaction: `${terms.transaction}-look`, withinMs: 1 }
      const held = await Promise.all(requests.map(async ({ id }) => ((await store.find(id)) === undefined ? undefined : id)))
      open.set(terms.transaction, [...(open.get(terms.transaction) ?? []), [requests, terms]])
      const known = await store.claim(
        requests.filter(({ id }) => held.includes(id)),
        scratch,
      )
      const holders = requests.filter(({ id }) => held.includes(id)).map(({ id }, i) => [id, known[i]] as const)
      return requests.map(({ id }) => holders.find(([one]) => one === id)?.[1])
    },
    async end(transaction, how, keepMs) {
      if (how === 'committed') for (const [requests, terms] of open.get(transaction) ?? []) await store.claim(requests, terms)
      open.delete(transaction)
      await store.end(transaction, how, keepMs)
    },
  }
}
