import { createHook } from 'node:async_hooks'
import { MillraceError, type AsyncSerde, type Serde } from '../../src/index.js'

export interface LaterSerde<T> extends AsyncSerde<T> {
  /** Most of its promises that were open at once. */
  mostOpen: number
  calls: number
  /** True: nobody answers. */
  down: boolean
}

/** A serde that answers in some later turn, those asked later often before the others. */
export function laterSerde<T>(inner: Serde<T>, refuses: (value: unknown) => boolean = () => false): LaterSerde<T> {
  let open = 0
  const answer = async <O>(make: () => O): Promise<O> => {
    serde.calls++
    serde.mostOpen = Math.max(serde.mostOpen, ++open)
    for (let turns = (serde.calls * 7) % 5; turns >= 0; turns--) await new Promise((resolve) => setImmediate(resolve))
    open--
    if (serde.down) throw new MillraceError('SERDE_UNAVAILABLE', 'the registry does not answer')
    return make()
  }
  const refused = (value: unknown): void => {
    if (refuses(value)) throw new Error('not this one')
  }
  const serde: LaterSerde<T> = {
    name: `later ${inner.name}`,
    async: true,
    mostOpen: 0,
    calls: 0,
    down: false,
    encode: (value) =>
      answer(() => {
        refused(value)
        return inner.encode(value)
      }),
    decode: (bytes) =>
      answer(() => {
        const value = inner.decode(bytes)
        refused(value)
        return value
      }),
  }
  return serde
}

/** How many promises are made while `run` runs. */
export async function promisesOf(run: () => Promise<unknown>): Promise<number> {
  let made = 0
  const hook = createHook({
    init(_id, type) {
      if (type === 'PROMISE') made++
    },
  })
  hook.enable()
  try {
    await run()
  } finally {
    hook.disable()
  }
  return made
}
