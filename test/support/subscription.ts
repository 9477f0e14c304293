import type { Subscription } from '../../src/runtime/group/messages.js'

/** What a member says when it joins that has nothing yet. */
export function subscriptionOf(of: Partial<Subscription> = {}): Subscription {
  return {
    topics: ['in'],
    owned: [],
    generation: -1,
    tasks: 1,
    warm: [],
    standbys: 0,
    address: undefined,
    changing: [],
    inner: [],
    stateful: true,
    seat: undefined,
    seats: 0,
    ...of,
  }
}
