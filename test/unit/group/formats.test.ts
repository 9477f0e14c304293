import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { silentLogger, type Logger } from '../../../src/record/logger.js'
import { divide } from '../../../src/runtime/group/divide.js'
import {
  FORMATS,
  decodeDivision,
  decodeSubscription,
  encodeDivision,
  encodeSubscription,
  type GroupFormat,
} from '../../../src/runtime/group/formats.js'
import type { Subscription } from '../../../src/runtime/group/messages.js'
import type { JoinedMember } from '../../../src/log/port.js'
import { subscriptionOf } from '../../support/subscription.js'

const [compact, json] = FORMATS as readonly [GroupFormat, GroupFormat]

const tasks = fc.uniqueArray(fc.nat(5_000), { maxLength: 200 }).map((list) => list.sort((a, b) => a - b))
const subscription: fc.Arbitrary<Subscription> = fc.record({
  topics: fc.array(fc.string(), { maxLength: 5 }),
  owned: tasks,
  generation: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
  tasks: fc.nat(100_000),
  warm: tasks,
  standbys: fc.nat(5),
  address: fc.option(fc.string(), { nil: undefined }),
  changing: fc.array(fc.string(), { maxLength: 3 }),
  inner: fc.array(fc.string(), { maxLength: 3 }),
  stateful: fc.boolean(),
  seat: fc.option(fc.integer({ min: -1, max: 500 }), { nil: undefined }),
  seats: fc.nat(500),
})

const claim = (memberId: string, of: Partial<Subscription> = {}, format = compact): JoinedMember => ({
  memberId,
  instanceId: undefined,
  metadata: encodeSubscription(format, subscriptionOf({ topics: ['orders'], tasks: 1_000, ...of })),
})

describe('what members of a group tell each other', () => {
  it.each(FORMATS.map((format) => [format.name, format] as const))(
    '%s: subscriptions and divisions come out as they went in',
    (_, format) => {
      fc.assert(
        fc.property(subscription, (told) => {
          expect(decodeSubscription(format, encodeSubscription(format, told))).toEqual(told)
        }),
      )
      fc.assert(
        fc.property(
          tasks,
          tasks,
          fc.array(fc.constantFrom('a', 'b', 'c:9092', ''), { maxLength: 300 }),
          fc.option(fc.string(), { nil: undefined }),
          fc.array(fc.string(), { minLength: 1, maxLength: 3 }),
          fc.record({
            count: fc.nat(),
            seat: fc.option(fc.nat(500), { nil: undefined }),
            seats: fc.nat(500),
            vacant: tasks,
          }),
          (own, standby, owners, refused, topics, more) => {
            const division = { tasks: own, standby, owners, refused, topics, ...more }
            expect(decodeDivision(format, encodeDivision(format, division))).toEqual(division)
          },
        ),
      )
    },
  )

  it('the newer format ignores what a later version says behind its last field', () => {
    const told = { ...claim('a') }.metadata
    const own = decodeSubscription(compact, told)
    const longer = {
      ...compact,
      subscription: { ...compact.subscription, encode: () => Buffer.concat([compact.subscription.encode(own), Buffer.from('more')]) },
    }
    expect(decodeSubscription(compact, encodeSubscription(longer, own))).toEqual(own)
    // Versions before seats end here.
    expect(decodeSubscription(compact, told.subarray(0, told.length - 2))).toMatchObject({ stateful: true, seat: undefined, seats: 0 })
    expect(() => decodeSubscription(compact, told.subarray(0, told.length - 4))).toThrow(
      expect.objectContaining({ code: 'BROKER_REFUSED' }),
    )
  })

  it('what versions before say is understood: who does not tell of topics of its own is not compared by them', () => {
    const before = {
      ...json,
      subscription: {
        ...json.subscription,
        encode: () => Buffer.from(JSON.stringify({ owned: [1], generation: 3, tasks: 4, warm: [], standbys: 0 })),
      },
    }
    const told = decodeSubscription(json, encodeSubscription(before, decodeSubscription(json, claim('a', {}, json).metadata)))
    expect(told).toMatchObject({ owned: [1], generation: 3, changing: [], inner: undefined, stateful: true })
    const warnings: string[] = []
    divide(
      'g',
      json,
      [claim('a', { inner: ['g-retry'] }, json), { ...claim('b'), metadata: encodeSubscription(before, told) }],
      warner(warnings),
    )
    expect(warnings).toEqual([])
  })

  // Addresses as they are where nobody gives one: 'millrace-' and a UUID.
  const memberId = (i: number): string => `millrace-${String(i).padStart(36, '0')}`
  const groupBytes = (format: GroupFormat, members: number, count: number, spread: boolean, warnings: string[] = []): number => {
    const claims = Array.from({ length: members }, (_, i) => {
      const owned = spread ? Array.from({ length: Math.floor((count - i - 1) / members) + 1 }, (_each, n) => i + n * members) : []
      return claim(memberId(i), { tasks: count, owned, generation: 1 }, format)
    })
    const told = [...divide('g', format, claims, warner(warnings)).values()].reduce((sum, bytes) => sum + bytes.length, 0)
    return told + claims.reduce((sum, { metadata }) => sum + metadata.length, 0)
  }

  it('25 members of 1,000 tasks fit in a tenth of what a coordinator stores, however the tasks lie', () => {
    expect(groupBytes(compact, 25, 1_000, true)).toBeLessThan(100_000)
    expect(groupBytes(compact, 25, 1_000, false)).toBeLessThan(50_000)
  })

  it('where the owners would not fit, they are left out with a warning, and the tasks are divided all the same', () => {
    const warnings: string[] = []
    expect(groupBytes(compact, 200, 5_000, true, warnings)).toBeLessThan(500_000)
    expect(warnings).toEqual([expect.stringMatching(/too large to tell every member/)])
    // In the form before, it takes no more than the case above.
    const before: string[] = []
    expect(groupBytes(json, 25, 1_000, true, before)).toBeLessThan(500_000)
    expect(before).toHaveLength(1)
    const small: string[] = []
    groupBytes(compact, 50, 2_000, true, small)
    expect(small).toEqual([])
  })

  it('owners are told only where some member has state to be asked for', () => {
    const owners = (stateful: boolean): readonly string[] | undefined =>
      decodeDivision(
        compact,
        divide('g', compact, [claim('a', { stateful }), claim('b', { stateful: false })], silentLogger).get('b') as Buffer,
      )?.owners
    expect(owners(true)).toHaveLength(1_000)
    expect(owners(false)).toEqual([])
  })
})

function warner(warnings: string[]): Logger {
  return { ...silentLogger, warn: (_fields, message) => void warnings.push(message) }
}
